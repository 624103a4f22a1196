"""What the networks are judged on, item by item; test sets in folders, and pairs of recordings."""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from audio_denoising.corpora.sources import EXTENSIONS
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.dsp.resampling import resample
from audio_denoising.errors import UserError
from audio_denoising.media.reading import AudioReader, read_audio
from audio_denoising.samples import Samples

URBANSOUND_CLASSES = (
    "air conditioner", "car horn", "children playing", "dog bark", "drilling",
    "engine idling", "gun shot", "jackhammer", "siren", "street music",
)  # fmt: skip
_URBANSOUND_NAME = re.compile(r"\d+-(\d)-\d+-\d+")


Loaded = tuple[Samples, Samples, int]
"""``(clean (L,), noisy (L,), sample rate in Hz)``."""


class Source(Protocol):
    """Where the two recordings come from; small, so that it travels to another process."""

    def load(self) -> Loaded:
        """Reads or makes them; UserError where a file cannot be read."""


@dataclass(frozen=True)
class Files:
    """A noisy recording and its clean reference, of one rate and (within 50 ms) one length."""

    clean: Path
    noisy: Path

    def load(self) -> Loaded:
        """Two channels are averaged; a reference of another length is shifted to where it fits."""
        clean, rate = _mono(self.clean)
        noisy, _ = _mono(self.noisy)
        if clean.size != noisy.size:
            clean = fitted(clean[None], noisy[None], rate)[0]
        return clean, noisy, rate


@dataclass(frozen=True)
class Item:
    """One thing to judge on, and what the tables group it by."""

    part: str
    name: str
    noise_class: str  # "": none, or not known
    snr_db: float | None
    source: Source
    sha256: str = ""  # expected of the noisy samples; empty: nothing is


def digest(samples: Samples) -> str:
    """First 16 hex digits of the SHA-256 of float32 samples."""
    return hashlib.sha256(np.ascontiguousarray(samples, "<f4").tobytes()).hexdigest()[:16]


def folder_items(folder: Path) -> list[Item]:
    """A test set on disk: ``clean/`` and ``noisy/`` with files of the same names.

    A `manifest.csv` as `denoise data mix` writes it tells level and noise of every pair; without
    one the pairs are judged all together. Two channels are averaged.

    Raises:
        UserError: a part is missing, or a pair does not fit together.
    """
    for part in ("clean", "noisy"):
        if not (folder / part).is_dir():
            raise UserError(
                f"{folder} has no folder {part}: a test set holds clean/ and noisy/ with files of "
                "the same names; `denoise data mix` makes one"
            )
    manifest = folder / "manifest.csv"
    items = _described(folder, manifest) if manifest.is_file() else _paired(folder)
    if not items:
        raise UserError(f"{folder} holds no recordings: `denoise data mix` makes a test set")
    for _, _, _, files in items:
        check_pair(files.noisy, *_header(files.noisy), files.clean, *_header(files.clean))
    return [Item(folder.name, *described) for described in items]


def noise_class(path: str) -> str:
    """UrbanSound8K's class from the file name; elsewhere the folder that the file lies in."""
    name = PurePosixPath(path)
    known = _URBANSOUND_NAME.fullmatch(name.stem)
    return URBANSOUND_CLASSES[int(known[1])] if known else name.parent.name or "noise"


Described = tuple[str, str, float | None, Files]  # name, kind of noise, dB


def _described(folder: Path, manifest: Path) -> list[Described]:
    with manifest.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    try:
        return [
            (
                line["id"],
                noise_class(line["noise_file"]),
                float(line["snr_db"]),
                Files(folder / line["clean"], folder / line["noisy"]),
            )
            for line in lines
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{manifest} is not a manifest of `denoise data mix` ({error}): remove it, or make "
            "the set again"
        ) from error


def _paired(folder: Path) -> list[Described]:
    clean, noisy = (
        {path.name: path for path in (folder / part).iterdir() if path.suffix.lower() in EXTENSIONS}
        for part in ("clean", "noisy")
    )
    alone = sorted(clean.keys() ^ noisy.keys())
    if alone:
        raise UserError(
            f"{folder} has {alone[0]} in only one of clean/ and noisy/: every recording needs its "
            "partner of the same name"
        )
    return [(Path(n).stem, "", None, Files(clean[n], noisy[n])) for n in sorted(noisy)]


def _header(path: Path) -> tuple[int, int]:
    with AudioReader(path) as reader:  # some formats tell their length only at their end
        frames = reader.frames or sum(block.shape[1] for block in reader.blocks(1 << 20))
        return frames, reader.rate


def _mono(path: Path) -> tuple[Samples, int]:
    samples, rate = read_audio(path)
    return samples.mean(axis=0, dtype=np.float32), rate


def at_16_khz(samples: Samples, rate: int) -> Samples:
    """The samples ``(L,)`` at the rate that is scored."""
    return resample(samples[None], rate, SAMPLE_RATE)[0]


TOLERANCE_SECONDS = 0.050


def check_pair(noisy: Path, frames: int, rate: int, clean: Path, length: int, other: int) -> None:
    """Refuses a reference of ``length`` frames at ``other`` Hz that cannot be one.

    Raises:
        UserError: another rate, or longer or shorter by over 50 ms, with both values.
    """
    if rate != other:
        raise UserError(
            f"{clean} has {other} Hz and {noisy} {rate} Hz: convert one of them to the rate of the "
            "other"
        )
    if abs(frames - length) > TOLERANCE_SECONDS * rate:
        raise UserError(
            f"{clean} lasts {length / rate:.3f} s and {noisy} {frames / rate:.3f} s: a reference "
            "may differ by 50 ms at most"
        )


def fitted(reference: Samples, samples: Samples, rate: int) -> Samples:
    """Shifts a reference to where it fits best, by at most 50 ms, and cuts or pads it to length.

    Both are ``(channels, L)``; the shift is the highest peak of their cross-correlation.
    """
    ours, theirs = samples.mean(axis=0), reference.mean(axis=0)
    size = ours.size + theirs.size
    product = np.fft.rfft(ours, size) * np.fft.rfft(theirs, size).conj()
    reach = min(int(TOLERANCE_SECONDS * rate), min(ours.size, theirs.size) - 1)
    lags = np.arange(-reach, reach + 1)
    lag = int(lags[np.argmax(np.fft.irfft(product, size)[lags])])
    moved = np.pad(reference, ((0, 0), (max(lag, 0), 0)))[:, max(-lag, 0) :][:, : ours.size]
    return np.pad(moved, ((0, 0), (0, ours.size - moved.shape[1])))


def read_pair(noisy: Path, clean: Path | None) -> tuple[Samples, Samples | None, int]:
    """Reads a recording and its reference, brought to one length.

    Raises:
        UserError: a file cannot be read, or the reference has another rate, or its length or its
            delay differs by more than 50 ms.
    """
    samples, rate = read_audio(noisy)
    if clean is None:
        return samples, None, rate
    reference, other = read_audio(clean)
    check_pair(noisy, samples.shape[1], rate, clean, reference.shape[1], other)
    if len(reference) != len(samples):
        reference = np.broadcast_to(reference.mean(axis=0), samples.shape[:1] + reference.shape[1:])
    return samples, fitted(reference, samples, rate), rate
