"""Pictures of sound: spectrograms on one scale, what differs between them, and waveforms.

The levels are those that the networks see: decibels relative to digital full scale, at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from audio_denoising.dsp.spectrum import (
    BINS,
    FFT_SIZE,
    FLOOR_DB,
    HOP,
    SAMPLE_RATE,
    level_db,
    stft,
)
from audio_denoising.evaluation.comparison import Comparison
from audio_denoising.evaluation.testset import at_16_khz
from audio_denoising.samples import Samples

Levels = npt.NDArray[np.float32]

LARGEST_DIFFERENCE_DB = 40.0
LEVEL = "level (dB re full scale)"
_COLUMNS = 1600  # of a picture; longer recordings show the loudest frame of several
_PIECE = HOP * 4096  # samples transformed at once, so that an hour does not fill the memory


def overview(samples: Samples, rate: int) -> Levels:
    """The spectrogram of a recording, squeezed to what a picture can show.

    Of samples ``(channels, L)`` it shows the mean: ``(256, columns)`` levels in dB, from 0 Hz
    upwards.
    """
    mono = np.ascontiguousarray(at_16_khz(samples.mean(axis=0), rate))
    together = max(1, -(-len(mono) // (HOP * _COLUMNS)))  # frames in a column
    parts = []
    for start in range(0, len(mono), _PIECE * together):
        piece = torch.from_numpy(mono[start : start + _PIECE * together])
        levels = level_db(stft(piece))[:, : max(1, len(piece) // HOP)]
        levels = torch.nn.functional.pad(levels, (0, -levels.shape[1] % together), value=FLOOR_DB)
        parts.append(levels.unflatten(1, (-1, together)).amax(2))
    return torch.cat(parts, 1).numpy()


def comparison_figure(comparison: Comparison) -> Figure:
    """A row for each take: spectrogram, difference in dB, waveform.

    The difference is to the clean recording if that is known, else to the noisy one.
    """
    takes, seconds = comparison.takes, comparison.seconds
    spectrograms = [overview(take.samples, comparison.rate) for take in takes]
    base = -1 if comparison.has_reference else 0
    figure = Figure(figsize=(15, 2.3 * len(takes) + 0.6), dpi=100, layout="constrained")
    axes = figure.subplots(len(takes), 3, sharex=True, squeeze=False)
    top = max(float(np.abs(take.samples).max(initial=0)) for take in takes) or 1.0
    symmetric = Normalize(-LARGEST_DIFFERENCE_DB, LARGEST_DIFFERENCE_DB)
    for row, take, levels in zip(axes, takes, spectrograms, strict=True):
        level = _draw(row[0], levels, seconds, cmap="magma", vmin=FLOOR_DB, vmax=0.0)
        row[0].set(title=take.name, ylabel="frequency (Hz)")
        if take is takes[base]:
            row[1].set_axis_off()
        else:
            row[1].set_title(f"{take.name} against {takes[base].name}")
            _draw(row[1], levels - spectrograms[base], seconds, cmap="RdBu_r", norm=symmetric)
        _waveform(row[2], take.samples, seconds, top)
        row[2].set(title=take.name, ylabel="amplitude")
    for axis in axes[-1]:
        axis.set(xlabel="time (s)", xlim=(0.0, seconds))
    figure.colorbar(level, ax=list(axes[:, 0]), label=LEVEL, pad=0.01, aspect=40)
    change = ScalarMappable(symmetric, "RdBu_r")
    figure.colorbar(change, ax=list(axes[:, 1]), label="difference (dB)", pad=0.01, aspect=40)
    return figure


def _waveform(axis: Axes, samples: Samples, seconds: float, top: float) -> None:
    """The band between the lowest and highest sample of each column."""
    pieces = np.array_split(samples, min(_COLUMNS, samples.shape[1]), axis=1)
    lowest, highest = ([float(f(piece)) for piece in pieces] for f in (np.min, np.max))
    times = np.linspace(0.0, seconds, len(pieces))
    axis.fill_between(times, lowest, highest, linewidth=0.3)
    axis.set_ylim(-top, top)


def spectrogram_figure(panels: Mapping[str, npt.ArrayLike], sample_rate: int) -> Figure:
    """Draws one spectrogram for every entry of ``panels``, from left to right.

    They map titles to mono waveforms ``(L,)`` in [-1, 1] of one rate, which are resampled to 16 kHz
    for the picture.
    """
    figure = Figure(figsize=(5.2 * len(panels), 3.6), dpi=100, layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (title, waveform) in zip(axes, panels.items(), strict=True):
        samples = np.asarray(waveform, np.float32)
        if samples.ndim != 1 or samples.size == 0:
            raise ValueError(f"one channel of samples (L,) is expected, not {samples.shape}")
        levels, seconds = overview(samples[None], sample_rate), samples.size / sample_rate
        drawn = _draw(axis, levels, seconds, cmap="magma", vmin=FLOOR_DB, vmax=0.0)
        axis.set(title=title, xlabel="time (s)", ylim=(0.0, SAMPLE_RATE / 2))
    axes[0].set_ylabel("frequency (Hz)")
    figure.colorbar(drawn, ax=list(axes), label=LEVEL, pad=0.01)
    return figure


def _draw(axis: Axes, levels: Levels, seconds: float, **colours: Any) -> AxesImage:
    """A spectrogram on its axes: time in seconds, frequency in Hz."""
    step = SAMPLE_RATE / FFT_SIZE  # bins are points: their cells reach half a step around
    extent = (0.0, seconds, -step / 2, (BINS - 0.5) * step)
    shape: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    return axis.imshow(levels, extent=extent, **shape, **colours)
