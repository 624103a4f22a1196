"""Measurements of the project: each module is run as ``python -m benchmarks.NAME``."""
