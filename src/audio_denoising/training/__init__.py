"""The training room: the loop, what it learns with, checkpoints, history and curves."""
