"""One recording through several networks: what each made of it, how it scores, on one time axis."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.evaluation.scores import METRICS, Metric, score
from audio_denoising.evaluation.testset import at_16_khz
from audio_denoising.samples import Samples

NOISY, CLEAN = "noisy", "clean"
PAUSES, RTF = "pauses dB", "RTF"
_SCORED = {key: metric for key, metric in METRICS.items() if metric.meaning}
SHOWN = {metric.title: metric for metric in _SCORED.values()} | {
    PAUSES: Metric(PAUSES, 1, "level of the quietest tenth: how much noise, or of all, is left"),
    RTF: Metric(RTF, 3, "time to clean a second of sound, in seconds, on this machine"),
}
"""The rows of a table of scores by their names, in their order."""
_NONE = "–"  # where there is no score
_PIECE = 1024  # samples whose level is looked at, 20 to 64 ms at the usual rates
_SPEECH_RANGE_DB = 30.0  # pieces this far below the loudest ones are pauses
_FLOOR = 1e-10  # mean power that stands for silence, -100 dB


@dataclass(frozen=True)
class Take:
    """One version of a recording."""

    name: str  # "noisy", the name of a model, or "clean"
    samples: Samples  # (channels, L), full scale at 1
    scores: dict[str, float | None] = field(default_factory=dict)  # None: not defined here

    @property
    def is_of_network(self) -> bool:
        """Whether a network made it: then it took its time."""
        return RTF in self.scores

    def shown(self, name: str) -> str:
        """A score as every table and page prints it: rounded here, and nowhere else."""
        value = self.scores.get(name)
        return _NONE if value is None else f"{value:.{SHOWN[name].digits}f}"

    @property
    def speech_level(self) -> float:
        """Level in dB of what is not a pause, to compare takes at one loudness."""
        levels = _levels(self.samples)
        loud = levels[levels >= np.percentile(levels, 95) - _SPEECH_RANGE_DB]
        return float(10 * np.log10(np.mean(10 ** (loud / 10))))


@dataclass(frozen=True)
class Comparison:
    """A recording in all its versions: the noisy one first, the clean one (if known) last."""

    title: str
    rate: int
    takes: list[Take]

    @property
    def seconds(self) -> float:
        """Length of every take."""
        return self.takes[0].samples.shape[1] / self.rate

    @property
    def names(self) -> list[str]:
        """The scores that any take has, in the order of `SHOWN`."""
        return [name for name in SHOWN if any(name in take.scores for take in self.takes)]

    def meaning(self, name: str) -> str:
        """What a score tells, in a few words."""
        better = "higher" if SHOWN[name].rising else "lower"
        return SHOWN[name].meaning + f"; {better} is better" * (name not in (PAUSES, RTF))

    def best(self, name: str) -> list[bool]:
        """Of every take, whether it is the best one that a network made, by the score as shown.

        None is where better has no meaning: quiet pauses alone are no merit, and a time depends on
        what else the machine did.
        """
        texts = [take.shown(name) if take.is_of_network else _NONE for take in self.takes]
        values = [float(text) for text in texts if text != _NONE]
        if len(values) < 2 or name in (PAUSES, RTF):
            return [False] * len(texts)
        wanted = (max if SHOWN[name].rising else min)(values)
        return [text != _NONE and float(text) == wanted for text in texts]

    @property
    def has_reference(self) -> bool:
        """Whether the clean recording is known."""
        return self.takes[-1].name == CLEAN


def compare(
    title: str,
    noisy: Samples,
    rate: int,
    denoisers: Sequence[tuple[str, Denoiser]],
    clean: Samples | None = None,
    *,
    started: Callable[[str], None] = lambda what: None,
) -> Comparison:
    """Runs every network over a recording and scores the results.

    Noisy and clean are ``(channels, L)`` with full scale at 1; ``started`` is told what begins.
    """
    takes = [Take(NOISY, noisy, _scores(noisy, clean, rate))]
    for name, denoiser in denoisers:
        started(f"{title}: {name}")
        begun = time.perf_counter()
        samples = np.asarray(denoiser(noisy, rate), np.float32)
        rtf = (time.perf_counter() - begun) * rate / noisy.shape[1]
        takes.append(Take(name, samples, _scores(samples, clean, rate) | {RTF: rtf}))
    if clean is not None:
        takes.append(Take(CLEAN, clean, _scores(clean, None, rate)))
    return Comparison(title, rate, takes)


def _scores(estimate: Samples, clean: Samples | None, rate: int) -> dict[str, float | None]:
    """The metrics of one take, mono at 16 kHz."""
    scores: dict[str, float | None] = {}
    if clean is not None:
        found = score(*(at_16_khz(samples.mean(axis=0), rate) for samples in (estimate, clean)))
        scores = {metric.title: found[key] for key, metric in _SCORED.items() if key in found}
    scores[PAUSES] = float(np.percentile(_levels(estimate), 10))
    return scores


def _levels(samples: Samples) -> npt.NDArray[np.float64]:
    """Levels in dB re full scale, piece by piece."""
    power = np.square(samples.mean(axis=0), dtype=np.float64)
    pieces = np.array_split(power, max(1, len(power) // _PIECE))
    return 10 * np.log10(np.maximum([piece.mean() for piece in pieces], _FLOOR))
