"""Finds the recordings in a folder, says whose they are, and reads them.

A recording belongs to a *group*: the speaker, or the source recording a noise clip was cut from.
Splits are made of whole groups, so everything that must stay together has to carry the same name
here. Only file headers are read, so a tree of thousands of files takes seconds.

Layouts that are understood anywhere below the folder:

* LibriSpeech, ``train-clean-100/<speaker>/<chapter>/*`` (LibriTTS has the same shape);
* UrbanSound8K, ``fold<1-10>/<source>-<class>-<occurrence>-<slice>.*``;
* ESC-10 and ESC-50, ``<fold>-<source>-<take>[-<target>].*``;
* any other tree of audio files.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from audio_denoising.corpora.sources import audio_files, nothing_found, require_folder
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.errors import UserError

_LIBRISPEECH_SUBSET = re.compile(r"(train|dev|test)-.+")
_LIBRISPEECH_SPLIT = {"train": "train", "dev": "validation", "test": "test"}
_FOLD = re.compile(r"fold(\d+)", re.IGNORECASE)
_URBANSOUND_NAME = re.compile(r"(\d+)-\d+-\d+-\d+")
_ESC_NAME = re.compile(r"[1-5]-(\d+)-[A-Z](-\d+)?")

# The resampler needs a little signal on both sides of a stretch, or its ends would ring.
_MARGIN = 320  # samples at 16 kHz
# Compressed formats may promise a little more than they hold; a longer gap is a damaged file.
TOLERANCE_SECONDS = 0.25

Waveform = npt.NDArray[np.float32]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """One audio file; its frames and rate (Hz) are as stored."""

    path: Path
    group: str  # what must not be divided between splits
    frames: int
    rate: int
    # What the layout says about the split: "train", "validation" or "test" in a LibriSpeech tree,
    # "fold7" in an UrbanSound8K tree.
    split_hint: str | None = None
    source: int = 0  # which of the folders that were given

    @property
    def samples(self) -> int:
        """Length in samples at the rate of the models (16 kHz)."""
        return self.frames * SAMPLE_RATE // self.rate

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate


@dataclass(frozen=True)
class Scan:
    """All audio files below ``root``, sorted by path: those with sound in them and the others."""

    folder: Path  # the root as it was given
    root: Path
    recordings: list[Recording]
    unreadable: dict[Path, str]  # why a file is left out, in a few words


def index_speech(*folders: str | os.PathLike[str]) -> list[Recording]:
    """Lists the speech below the folders, grouped by speaker and sorted by path within each.

    Outside LibriSpeech trees the folder that a file lies in is taken for its speaker; a file
    directly in ``folder`` is its own group. Files that cannot be read are left out with a warning.

    Raises UserError if a folder cannot be read, holds no speech, or holds a file of another one.
    """
    return index(folders, "speech")[0]


def index_noise(*folders: str | os.PathLike[str]) -> list[Recording]:
    """Lists the noise below the folders, grouped by source recording, sorted by path within each.

    UrbanSound8K and ESC name the Freesound recording that a clip was cut from by the same number,
    and some clips of both come from one recording, so they share the group ``freesound/<number>``.
    Any other file is its own group. Files that cannot be read are left out with a warning.

    Raises UserError if a folder cannot be read, holds no noise, or holds a file of another one.
    """
    return index(folders, "noise")[0]


def index(
    folders: Sequence[str | os.PathLike[str]], what: str
) -> tuple[list[Recording], list[Path]]:
    """The "speech" or "noise" of folders, and the files that are left out; a warning counts them.

    Raises UserError as `index_speech` and `index_noise`.
    """
    found = [scan(folder, what) for folder in folders]
    for each in found:
        count = len(each.recordings) + len(each.unreadable)
        if each.unreadable:
            first = next(iter(each.unreadable)).relative_to(each.root)
            _log.warning(
                "%d of %d files in %s are empty or cannot be read and are left out; the first is "
                "%s.",
                *(len(each.unreadable), count, each.folder, first),
            )
        if not each.recordings:
            raise UserError(nothing_found(each.folder, what, len(each.unreadable)))
    return join(each.recordings for each in found), [p for each in found for p in each.unreadable]


def join(found: Iterable[Sequence[Recording]]) -> list[Recording]:
    """The recordings of several folders in one list, each with the number of its folder.

    Raises UserError if a file is in two of them: nobody could say how often it is drawn.
    """
    joined = [replace(each, source=number) for number, rs in enumerate(found) for each in rs]
    owner: dict[Path, int] = {}
    for recording in joined:
        if owner.setdefault(recording.path, recording.source) != recording.source:
            raise UserError(
                f"{recording.path} is in two of the folders given: name folders that do not "
                "hold one another"
            )
    return joined


def _describe_speech(root: Path, path: Path) -> tuple[str, str | None]:
    parts = (root / path).parts
    if len(parts) >= 4 and parts[-3].isdigit():
        subset = _LIBRISPEECH_SUBSET.fullmatch(parts[-4])
        if subset:
            return f"librispeech/{parts[-3]}", _LIBRISPEECH_SPLIT[subset[1]]
    if path.parent == PurePath():
        return f"file/{path.stem}", None
    return f"speaker/{path.parent.as_posix()}", None


def _describe_noise(root: Path, path: Path) -> tuple[str, str | None]:
    fold = _FOLD.fullmatch((root / path).parent.name)
    hint = f"fold{int(fold[1])}" if fold else None
    source = _URBANSOUND_NAME.fullmatch(path.stem) or _ESC_NAME.fullmatch(path.stem)
    if source:
        return f"freesound/{source[1]}", hint
    return f"file/{path.with_suffix('').as_posix()}", hint


def by_name(place: str | os.PathLike[str], what: str) -> list[Recording]:
    """The "speech" or "noise" in a folder as far as names tell: without a length, none is opened.

    Sorted by path.
    """
    folder, describe = Path(place), _describe_speech if what == "speech" else _describe_noise
    require_folder(folder, what)
    root = folder.resolve()
    found = ((root / path, *describe(root, path)) for path in sorted(audio_files(root)))
    return [Recording(path, group, 0, 1, hint) for path, group, hint in found]


def scan(place: str | os.PathLike[str], what: str) -> Scan:
    """Looks for "speech" or "noise" in a folder; an empty result is no error."""
    named = by_name(place, what)
    # Reading a header is mostly waiting for the disk: threads hide that wait.
    with ThreadPoolExecutor(max_workers=8) as pool:
        headers = list(pool.map(_header, (each.path for each in named)))
    recordings: list[Recording] = []
    unreadable: dict[Path, str] = {}
    for each, header in zip(named, headers, strict=True):
        if isinstance(header, str):
            unreadable[each.path] = header
        else:
            frames, rate = header
            recordings.append(replace(each, frames=frames, rate=rate))
    return Scan(Path(place), Path(place).resolve(), recordings, unreadable)


def _header(path: Path) -> tuple[int, int] | str:
    """Returns (frames, rate in Hz), or a few words on why the file holds no readable audio."""
    try:
        if path.stat().st_size == 0:
            return "empty (0 bytes)"
        info = soundfile.info(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        # ValueError: a name that is not valid Unicode.
        return getattr(error, "strerror", None) or "not readable as audio"
    audible = info.frames * SAMPLE_RATE >= info.samplerate  # at least one sample at 16 kHz
    return (info.frames, info.samplerate) if audible else "no samples in it"


class DamagedRecording(Exception):
    """The file's header was fine, but its sound cannot be decoded or is not finite."""


def read_segment(recording: Recording, start: int, length: int) -> Waveform:
    """Reads ``length`` samples of 16 kHz mono, fewer where the recording ends, from ``start`` on.

    Only that stretch is decoded. Other rates are resampled, channels are averaged, and start and
    length are counted at 16 kHz. The place is exact, except that libsndfile may seek a few
    milliseconds late in Ogg Vorbis files (its issue 885): always equally late, and up to one
    Vorbis window.

    Raises:
        DamagedRecording: the file cannot be decoded there.
    """
    length = min(length, recording.samples - start)
    rate = recording.rate
    # Both rates have a sample at every ``up``-th sample of ours, the ``down``-th of the file: from
    # such a place the stretch comes out exactly as if the whole file had been resampled.
    up, down = (number // math.gcd(rate, SAMPLE_RATE) for number in (SAMPLE_RATE, rate))
    margin = _MARGIN if rate != SAMPLE_RATE else 0
    block = max(0, start - margin) // up
    lead = start - block * up
    first = block * down
    wanted = math.ceil((lead + length + margin) * rate / SAMPLE_RATE)
    wanted = min(wanted, recording.frames - first)
    try:
        with soundfile.SoundFile(str(recording.path)) as file:
            file.seek(first)
            frames = file.read(wanted, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise DamagedRecording(f"{recording.path}: {error}") from error
    if len(frames) < wanted - TOLERANCE_SECONDS * rate:
        raise DamagedRecording(f"{recording.path}: it ends early, after {first + len(frames)}")
    if frames.shape[1] == 1:
        mono = frames[:, 0]
    else:  # as frames.mean(axis=1), which takes ten times as long
        mono = sum(frames.T) / np.float32(frames.shape[1])
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    if not np.isfinite(mono).all():
        raise DamagedRecording(f"{recording.path}: it holds samples that are not numbers")
    mono = mono[lead : lead + length]
    return mono if len(mono) == length else np.pad(mono, (0, length - len(mono)))
