"""Judging: metrics, the frozen test lists, peers, comparisons, pictures and reports."""
