"""Recordings for training: found, divided so that nothing leaks across, fetched from publishers."""
