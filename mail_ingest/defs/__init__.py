"""Dagster: what runs when, for which accounts. The only package, beside `definitions`, that knows Dagster."""
