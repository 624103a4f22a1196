"""Mixtures of speech and noise: made in whole batches for training, or frozen on disk for tests.

Read ``bank.py`` (recordings on one tape, read at any place and speed), ``library.py`` (what decodes
them; ``kept_library.py`` keeps them on disk), ``recipe.py`` (every number of the mixtures of every
version), ``choices.py`` (what is drawn for a batch), then ``batch.py``, where they come together,
and ``augmentation.py`` with ``rooms.py`` and ``filters.py`` (what richer recipes add). Apart from
these stand ``frozen_*.py`` (test sets of whole utterances), ``shards.py`` (corpora beyond one
disk), and ``check.py``.
"""
