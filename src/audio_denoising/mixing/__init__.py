"""Training mixtures made in whole batches on the device that trains.

Read ``bank.py`` (all recordings of one kind as one tensor), ``recipe.py`` (every number of the
mixtures), ``choices.py`` (what is drawn for a batch), ``rooms.py`` and ``filters.py`` (what
changes the sound), then ``batch.py``, where they come together.
"""
