"""Bytes on the wire: routes, parameters, errors, partial answers, batches, the ASGI application and its server."""
