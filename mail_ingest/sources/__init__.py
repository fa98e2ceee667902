"""dlt sources: spooled rows in, load packages out. Knows dlt, not Dagster, and no SQL beyond the merge guards."""
