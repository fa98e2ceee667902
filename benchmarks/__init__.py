"""Measures the product against hand-written floors and its own bounds; `python -m benchmarks.pipeline` prints the table."""
