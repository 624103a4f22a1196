"""Cleaning files: one recording into another, many at once, and what passes through a pipe."""
