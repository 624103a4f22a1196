"""What no training of v5 may hear.

The second frozen test list is made of it: speakers of other languages, ages and rooms, and noise
recordings of many kinds. `held_out.csv` names a speaker's folder or a recording a line, the latter
without its ending, and a language or a kind of noise; parts cut from one recording are all there.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from pathlib import PurePath

from audio_denoising.corpora.corpus import Recording
from audio_denoising.corpora.splits import TEST_FOLD


@cache
def held_out() -> dict[str, str]:
    """The lines of the list, like ``speech/emodb/emodb03`` -> ``German``."""
    text = files(__package__).joinpath("held_out.csv").read_text(encoding="utf-8")
    return {line["path"]: line["kind"] for line in csv.DictReader(text.splitlines())}


def is_held_out(path: PurePath | str) -> bool:
    """Whether a file is on the list: itself, or through a folder that it lies in.

    Where the corpora stand is nobody's business: the list's ``speech/`` and ``noise/`` need not be
    in the path, so ``/data/emodb/emodb03/emodb03-01.opus`` is held out as well.
    """
    parts = PurePath(path).with_suffix("").parts
    return any(
        "/".join(parts[start:end]) in _without_kind()
        for end in range(1, len(parts) + 1)
        for start in range(end)
    )


def may_be_heard(recording: Recording) -> bool:
    """Whether v5 may hear it: not the held-out list, test-other and UrbanSound8K's fold 10."""
    path, hint = recording.path, recording.split_hint
    return not is_held_out(path) and "test-other" not in path.parts and hint != TEST_FOLD


@cache
def _without_kind() -> frozenset[str]:
    return frozenset(line.split("/", 1)[1] for line in held_out())
