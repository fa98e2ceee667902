"""`mail-ingest simulator`: the local Gmail server."""
