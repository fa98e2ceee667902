"""The database side: connections and locks, dlt pipelines, the reads Python needs, analyst tables, the raw archive."""
