"""The methods of Gmail REST API v1, one module per resource: parsed parameters in, JSON objects out."""
