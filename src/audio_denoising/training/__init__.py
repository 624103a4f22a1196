"""Training: the loop, what it learns with, the state and the folder of a run, who watches it."""
