"""Pictures of sound: spectrograms on one scale, what differs between them, and waveforms.

The levels are those that the networks see: decibels relative to digital full scale, at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

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
_COLUMNS = 1600  # of a picture; longer recordings show the loudest frame of several
_PIECE = HOP * 4096  # samples transformed at once, so that an hour does not fill the memory


def overview(samples: Samples, rate: int) -> Levels:
    """The spectrogram of a recording, squeezed to what a picture can show.

    Args:
        samples: ``(channels, L)``, full scale at 1; the picture shows their mean.
        rate: in Hz.

    Returns:
        ``(256, columns)`` levels in dB, from 0 Hz upwards.
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
    takes = comparison.takes
    spectrograms = [overview(take.samples, comparison.rate) for take in takes]
    base = -1 if comparison.has_reference else 0
    figure = Figure(figsize=(15, 2.3 * len(takes) + 0.6), dpi=100, layout="constrained")
    axes = figure.subplots(len(takes), 3, sharex=True, squeeze=False)
    top = max(float(np.abs(take.samples).max(initial=0)) for take in takes) or 1.0
    extent = (0.0, comparison.seconds, 0.0, BINS * SAMPLE_RATE / FFT_SIZE)
    drawn = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "extent": extent}
    symmetric = Normalize(-LARGEST_DIFFERENCE_DB, LARGEST_DIFFERENCE_DB)
    for row, take, levels in zip(axes, takes, spectrograms, strict=True):
        level = row[0].imshow(levels, cmap="magma", vmin=FLOOR_DB, vmax=0.0, **drawn)
        row[0].set(title=take.name, ylabel="frequency (Hz)")
        if take is takes[base]:
            row[1].set_axis_off()
        else:
            row[1].set_title(f"{take.name} against {takes[base].name}")
            row[1].imshow(levels - spectrograms[base], cmap="RdBu_r", norm=symmetric, **drawn)
        _waveform(row[2], take.samples, comparison.seconds, top)
        row[2].set(title=take.name, ylabel="amplitude")
    for axis in axes[-1]:
        axis.set(xlabel="time (s)", xlim=(0.0, comparison.seconds))
    figure.colorbar(
        level, ax=list(axes[:, 0]), label="level (dB re full scale)", pad=0.01, aspect=40
    )
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

    Args:
        panels: title -> mono waveform ``(L,)`` in [-1, 1].
        sample_rate: of all of them, in Hz; other rates than 16 kHz are resampled for the picture.

    Returns:
        A figure with time in seconds, frequency in Hz and one colour scale in dB.
    """
    figure = Figure(figsize=(5.2 * len(panels), 3.6), dpi=100, layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    image = None
    for axis, (title, waveform) in zip(axes, panels.items(), strict=True):
        levels = _levels(waveform, sample_rate)
        # Bins and frames are points in frequency and time: their cells reach half a step around.
        half_bin, half_frame = SAMPLE_RATE / FFT_SIZE / 2, HOP / SAMPLE_RATE / 2
        seconds = (levels.shape[1] - 1) * HOP / SAMPLE_RATE
        top = (BINS - 1) * SAMPLE_RATE / FFT_SIZE
        image = axis.imshow(
            levels,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap="magma",
            vmin=FLOOR_DB,
            vmax=0.0,
            extent=(-half_frame, seconds + half_frame, -half_bin, top + half_bin),
        )
        axis.set_title(title)
        axis.set_xlabel("time (s)")
        axis.set_xlim(0.0, max(seconds, HOP / SAMPLE_RATE))
        axis.set_ylim(0.0, SAMPLE_RATE / 2)
    axes[0].set_ylabel("frequency (Hz)")
    if image is not None:
        figure.colorbar(image, ax=list(axes), label="level (dB re full scale)", pad=0.01)
    return figure


def _levels(waveform: npt.ArrayLike, sample_rate: int) -> Levels:
    samples = np.asarray(waveform, np.float32)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"one channel of samples (L,) is expected, not {samples.shape}")
    levels: Levels = level_db(stft(torch.from_numpy(at_16_khz(samples, sample_rate)))).numpy()
    return levels
