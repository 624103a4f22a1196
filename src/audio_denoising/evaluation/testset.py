"""What the networks are judged on, item by item; and test sets in folders of their own."""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from audio_denoising.corpora.corpus import Recording, read_segment
from audio_denoising.corpora.sources import EXTENSIONS
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.dsp.resampling import resample
from audio_denoising.errors import UserError
from audio_denoising.evaluation.synthesis import in_room
from audio_denoising.media.reading import AudioReader, read_audio
from audio_denoising.mixing.frozen_set import Choice, detailed_mix, looped, power
from audio_denoising.samples import Samples

URBANSOUND_CLASSES = (
    "air conditioner", "car horn", "children playing", "dog bark", "drilling",
    "engine idling", "gun shot", "jackhammer", "siren", "street music",
)  # fmt: skip
_URBANSOUND_NAME = re.compile(r"\d+-(\d)-\d+-\d+")


@dataclass(frozen=True)
class Files:
    """A noisy recording and its clean reference, of one rate and (within 50 ms) one length."""

    clean: Path
    noisy: Path


@dataclass(frozen=True)
class Item:
    """One thing to judge on; small, so that it travels to another process.

    What comes from the corpora are ``samples`` of the utterance from ``start`` on, at 16 kHz;
    ``room`` is a reverberation time in seconds, and ``level_db`` the level of the mixture re full
    scale (None: dry, and as loud as it is).
    """

    part: str
    name: str
    noise_class: str
    snr_db: float | None
    source: Choice | Recording | Files
    samples: int = 0
    sha256: str = ""  # expected; empty: nothing is
    start: int = 0
    room: float | None = None
    level_db: float | None = None

    def load(self) -> tuple[Samples, Samples, int]:
        """``(clean (L,), noisy (L,), sample rate in Hz)``.

        Raises:
            UserError: a file cannot be read.
        """
        if isinstance(self.source, Files):
            clean, rate = _mono(self.source.clean)
            noisy, _ = _mono(self.source.noisy)
            if clean.size != noisy.size:
                clean = fitted(clean[None], noisy[None], rate)[0]
            return clean, noisy, rate
        if isinstance(self.source, Recording):
            clean = read_segment(self.source, self.start, self.samples)
            return clean, clean, SAMPLE_RATE
        clean = read_segment(self.source.speech, self.start, self.samples)
        if self.room is not None:
            clean = in_room(clean, self.room, seed=self.start)
        noise = looped(self.source.noise, self.source.offset, clean.size)
        mixed = detailed_mix(clean, noise, self.source.snr_db)
        gain = 1.0
        if self.level_db is not None:
            gain = 10 ** (self.level_db / 20) / power(mixed.noisy) ** 0.5
        return mixed.clean * np.float32(gain), mixed.noisy * np.float32(gain), SAMPLE_RATE


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
    for item in items:
        assert isinstance(item.source, Files)
        noisy, clean = (_header(path) for path in (item.source.noisy, item.source.clean))
        check_pair(item.source.noisy, *noisy, item.source.clean, *clean)
    return items


def noise_class(path: str) -> str:
    """UrbanSound8K's class from the file name; elsewhere the folder that the file lies in."""
    name = PurePosixPath(path)
    known = _URBANSOUND_NAME.fullmatch(name.stem)
    return URBANSOUND_CLASSES[int(known[1])] if known else name.parent.name or "noise"


def _described(folder: Path, manifest: Path) -> list[Item]:
    with manifest.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    try:
        return [
            Item(
                part=folder.name,
                name=line["id"],
                noise_class=noise_class(line["noise_file"]),
                snr_db=float(line["snr_db"]),
                source=Files(folder / line["clean"], folder / line["noisy"]),
            )
            for line in lines
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{manifest} is not a manifest of `denoise data mix` ({error}): remove it, or make "
            "the set again"
        ) from error


def _paired(folder: Path) -> list[Item]:
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
    return [
        Item(folder.name, Path(name).stem, "", None, Files(clean[name], noisy[name]))
        for name in sorted(noisy)
    ]


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
