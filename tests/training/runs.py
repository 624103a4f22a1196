"""Tiny training runs on the tiny corpus, and how to compare two of them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_denoising.corpora.corpus import Recording
from audio_denoising.mixing import library
from audio_denoising.models import DECIBEL_IMAGE, VERSIONS, WIDTHS, causal
from audio_denoising.training import material, run_folder
from audio_denoising.training.options import RunPlace, TrainingOptions
from audio_denoising.training.progress import Watcher
from audio_denoising.training.run_folder import Row
from audio_denoising.training.trainer import Trainer

TINY = Path(__file__).parent.parent / "data"
SPEECH, NOISE = TINY / "LibriSpeech", TINY / "noise"
U_NETS = [name for name, row in VERSIONS.items() if row.hears == DECIBEL_IMAGE]
# Widths where a test is about the loop, not about the network.
NARROW = {"small": (2, 4, 8, 16, 32), "large": (4, 8, 16, 32, 64)}
NARROW_V5 = causal.Widths(4, 6, 4, 1, 1)


class Recorder(Watcher):
    """Remembers what it is told, and presses Ctrl-C after some step."""

    def __init__(self, stop_after: int = 0, stop_signal: int = signal.SIGINT) -> None:
        self.left = stop_after
        self.stop_signal = stop_signal
        self.resumed_at = -1
        self.steps: list[tuple[int, int]] = []
        self.figures: list[dict[str, float]] = []
        self.rows: list[Row] = []
        self.best: list[bool] = []
        self.reason = ""
        self.licence = ""
        self.material: Any = None

    def started(self, trainer: Trainer) -> None:
        self.resumed_at = trainer.step
        self.material = trainer.material
        self.licence = trainer.licence

    def stepped(self, trainer: Trainer, figures: dict[str, float]) -> None:
        self.steps.append((trainer.epoch, trainer.batch))
        self.figures.append(figures)
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.stop_signal)

    def finished_epoch(self, trainer: Trainer, row: Row, is_best: bool) -> None:
        self.rows.append(row)
        self.best.append(is_best)

    def ended(self, trainer: Trainer, reason: str) -> None:
        self.reason = reason


class PowerCut(Recorder):
    """Ends the process, as far as a test can, after the fourth step."""

    def stepped(self, trainer: Trainer, figures: dict[str, float]) -> None:
        super().stepped(trainer, figures)
        if trainer.step == 4:
            raise MemoryError


_decode = library._decode
_remembered = lru_cache(maxsize=None)(_decode)


def decoded_once(recording: Recording) -> Any:
    """The tiny corpus never changes, and to decode it takes a quarter of a tiny run."""
    return _remembered(recording) if TINY in recording.path.parents else _decode(recording)


@contextmanager
def quickly(narrow: bool) -> Iterator[pytest.MonkeyPatch]:
    """Four validation mixtures, one thread; everything is back as it was at the end.

    `narrow` makes the networks much narrower and leaves the curves empty.
    """
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(material, "VALIDATION_SIZE", 4)
        patch.setattr(material, "STATISTICS", 2)
        patch.setattr(library, "_decode", decoded_once)
        if narrow:
            for size, widths in NARROW.items():
                patch.setitem(WIDTHS, size, widths)
            patch.setitem(causal.SIZES, "small", NARROW_V5)
            patch.setattr(run_folder, "_draw", lambda path, *_: path.touch())
        torch.set_num_threads(1)
        try:
            yield patch
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)


def options(version: str = "v4", **changes: Any) -> TrainingOptions:
    """Two epochs of two steps, two mixtures each, of half a second where a version lets choose."""
    settings: dict[str, Any] = {"size": "small", "epochs": 2, "batch_size": 2, "epoch_size": 4}
    if version not in U_NETS:
        settings["clip_seconds"] = 0.5
    return TrainingOptions(version, **(settings | changes))


def train(
    out: Path,
    version: str = "v4",
    *,
    narrow: bool = True,
    resume: bool = False,
    recorder: Recorder | None = None,
    speech: Path | Sequence[str | Path] = SPEECH,
    noise: Path | Sequence[str | Path] = NOISE,
    cache: Path | None = None,
    accumulate: int = 1,
    recompute: bool = False,
    save_seconds: float = 120.0,
    **changes: Any,
) -> bool:
    """One run; True when all of its epochs are done."""
    voices, sounds = ([g] if isinstance(g, Path) else g for g in (speech, noise))
    place = RunPlace(voices, sounds, out, "cpu", resume, cache, accumulate, recompute, save_seconds)
    with quickly(narrow):
        return Trainer(options(version, **changes), place, [recorder] if recorder else []).run()


def content(path: Path) -> dict[str, Any]:
    """What a checkpoint file holds, without where it was made and the seconds spent on it."""
    found: dict[str, Any] = torch.load(path, weights_only=True)
    found.pop("place")
    found["sums"].pop("seconds")
    for row in found["history"]:
        row.pop("train_seconds")
    return found


def rows(folder: Path) -> list[dict[str, Any]]:
    """The history of a run, without its seconds."""
    found: list[dict[str, Any]] = json.loads((folder / "history.json").read_text())["epochs"]
    for row in found:
        row.pop("train_seconds")
    return found


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Where two nested contents are not exactly (bit by bit) the same."""
    if type(a) is not type(b):
        return [place]
    if isinstance(a, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [place]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{place} has other keys"]
        return [d for key in a for d in differences(a[key], b[key], f"{place}/{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{place} has another length"]
        pairs = enumerate(zip(a, b, strict=True))
        return [d for i, (x, y) in pairs for d in differences(x, y, f"{place}/{i}")]
    return [] if a == b else [place]
