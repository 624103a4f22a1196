"""What the networks are judged on: the frozen list of this project, or somebody's own test set.

The frozen list, `test_list.csv`, has three parts. Speakers are the ten of LibriSpeech test-other,
noise recordings those of UrbanSound8K's fold 10; neither is ever trained or tuned on.

* held-out: 160 mixtures; each of the ten noise classes and each speaker four times at each of 0,
  5, 10 and 15 dB.
* unseen noise: 40 mixtures with noise of kinds that are in no training corpus (`unseen_noise`).
* clean speech: 20 utterances without noise, to hear what a denoiser takes from them.

The list names utterances and clips as the corpora name them, so anyone who has the two corpora
makes the same samples again. `benchmarks/draw_test_list.py` is how it was drawn.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import soxr

from ..data.corpus import EXTENSIONS, Recording, index_noise
from ..data.frozen_set import Choice, render
from ..data.mixing import read_segment
from ..dsp.spectrum import SAMPLE_RATE
from ..errors import UserError
from ..io.reading import AudioReader, read_audio
from .alignment import align, check_pair
from .unseen_noise import write_clips

Waveform = npt.NDArray[np.float32]

HELD_OUT, UNSEEN, CLEAN = "held-out", "unseen noise", "clean speech"
PARTS = (HELD_OUT, UNSEEN, CLEAN)
NO_NOISE = ""  # the noise class of clean speech

URBANSOUND_CLASSES = (
    "air conditioner", "car horn", "children playing", "dog bark", "drilling",
    "engine idling", "gun shot", "jackhammer", "siren", "street music",
)  # fmt: skip
_URBANSOUND_NAME = re.compile(r"\d+-(\d)-\d+-\d+")


@dataclass(frozen=True)
class Row:
    """One line of the frozen list.

    ``utterance`` and ``noise`` are file names without their ending; ``samples`` (16 kHz) from the
    start of the utterance are used; the noise starts ``offset`` samples into its clip and goes
    round where that ends. Clean speech has no noise and no level. ``sha256`` is the first half of
    the digest of the noisy float32 samples.
    """

    part: str
    number: int
    speaker: str
    utterance: str
    samples: int
    noise_class: str
    noise: str
    offset: int
    snr_db: float | None
    sha256: str


COLUMNS = tuple(Row.__dataclass_fields__)


@dataclass(frozen=True)
class Files:
    """A noisy recording and its clean reference, of one rate and (within 50 ms) one length."""

    clean: Path
    noisy: Path


@dataclass(frozen=True)
class Item:
    """One thing to judge on; small, so that it travels to another process."""

    part: str
    name: str
    noise_class: str
    snr_db: float | None
    source: Choice | Recording | Files
    samples: int = 0  # of the utterance, for what comes from the corpora
    sha256: str = ""  # expected; empty: nothing is

    def load(self) -> tuple[Waveform, Waveform, int]:
        """``(clean (L,), noisy (L,), sample rate in Hz)``.

        Raises:
            UserError: a file cannot be read.
        """
        if isinstance(self.source, Choice):
            mixed = render(self.source, self.samples)
            return mixed.clean, mixed.noisy, SAMPLE_RATE
        if isinstance(self.source, Recording):
            clean = read_segment(self.source, 0, self.samples)
            return clean, clean, SAMPLE_RATE
        clean, rate = _mono(self.source.clean)
        noisy, _ = _mono(self.source.noisy)
        noisy, clean = align(noisy, clean, rate)
        return clean, noisy, rate


def digest(samples: Waveform) -> str:
    """First 16 hex digits of the SHA-256 of float32 samples."""
    return hashlib.sha256(np.ascontiguousarray(samples, "<f4").tobytes()).hexdigest()[:16]


def frozen_list() -> list[Row]:
    """The 220 lines of the frozen list."""
    text = files(__package__).joinpath("test_list.csv").read_text(encoding="utf-8")
    return [
        Row(
            part=line["part"],
            number=int(line["number"]),
            speaker=line["speaker"],
            utterance=line["utterance"],
            samples=int(line["samples"]),
            noise_class=line["noise_class"],
            noise=line["noise"],
            offset=int(line["offset"]),
            snr_db=float(line["snr_db"]) if line["snr_db"] else None,
            sha256=line["sha256"],
        )
        for line in csv.DictReader(text.splitlines())
    ]


def halves(rows: Iterable[Row]) -> list[dict[str, list[str]]]:
    """The speakers of the list in two halves, with their utterances: who makes which babble."""
    spoken: dict[str, set[str]] = {}
    for row in rows:
        spoken.setdefault(row.speaker, set()).add(row.utterance)
    order = sorted(spoken)
    middle = len(order) // 2
    return [{s: sorted(spoken[s]) for s in half} for half in (order[:middle], order[middle:])]


def frozen_items(
    rows: Sequence[Row], speech: Sequence[Recording], noise: Sequence[Recording], workshop: Path
) -> list[Item]:
    """The list as items to load, found in the corpora by name.

    Args:
        rows: as `frozen_list` returns them.
        speech, noise: recordings of LibriSpeech test-other and UrbanSound8K fold 10, among others.
        workshop: an existing folder that receives the generated noise; the items read it.

    Raises:
        UserError: the recordings lack a file of the list.
    """
    spoken = {recording.path.stem: recording for recording in speech}
    sounds = {recording.path.stem: recording for recording in noise}
    _require({row.utterance for row in rows} - spoken.keys(), "utterances", "speech", "test-other")
    recorded = {row.noise for row in rows if row.part == HELD_OUT}
    _require(recorded - sounds.keys(), "noise clips", "noise", "fold10")
    if any(row.part == UNSEEN for row in rows):
        longest = max(row.samples for row in rows)
        voices = [
            {who: [read_segment(spoken[name], 0, longest) for name in names]
             for who, names in half.items()}
            for half in halves(rows)
        ]  # fmt: skip
        write_clips(workshop, voices)
        sounds |= {recording.path.stem: recording for recording in index_noise(workshop)}
    return [
        Item(
            part=row.part,
            name=f"{row.part} {row.number}",
            noise_class=row.noise_class,
            snr_db=row.snr_db,
            source=spoken[row.utterance]
            if row.snr_db is None
            else Choice(spoken[row.utterance], sounds[row.noise], row.offset, row.snr_db),
            samples=row.samples,
            sha256=row.sha256,
        )
        for row in rows
    ]


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
        check_pair(str(item.source.noisy), *noisy, str(item.source.clean), *clean)
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


def _mono(path: Path) -> tuple[Waveform, int]:
    samples, rate = read_audio(path)
    return samples.mean(axis=0, dtype=np.float32), rate


def at_16_khz(samples: Waveform, rate: int) -> Waveform:
    """The samples ``(L,)`` at the rate that is scored."""
    if rate == SAMPLE_RATE:
        return samples
    return np.asarray(soxr.resample(samples, rate, SAMPLE_RATE), np.float32)


def _require(missing: set[str], what: str, option: str, subset: str) -> None:
    if missing:
        raise UserError(
            f"{len(missing)} {what} of the test list were not found, {min(missing)} among them; "
            f"point --{option} at a corpus with {subset} in it, or give your own --testset."
        )
