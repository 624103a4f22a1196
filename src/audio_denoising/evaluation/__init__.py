"""The evaluation room: metrics, the frozen list of test mixtures, pictures for reports."""
