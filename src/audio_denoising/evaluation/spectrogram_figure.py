"""Draws the spectrograms of a recording before and after cleaning, side by side on one scale.

python -m audio_denoising.evaluation.spectrogram_figure NOISY DENOISED PICTURE.png

The levels are those that the network sees: decibels relative to digital full scale, at 16 kHz.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import torch
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
from audio_denoising.errors import UserError
from audio_denoising.files import save_whole
from audio_denoising.samples import Samples


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


def _levels(waveform: npt.ArrayLike, sample_rate: int) -> npt.NDArray[np.float32]:
    samples = np.asarray(waveform, np.float32)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"one channel of samples (L,) is expected, not {samples.shape}")
    if sample_rate != SAMPLE_RATE:
        samples = soxr.resample(samples, sample_rate, SAMPLE_RATE)
    levels: npt.NDArray[np.float32] = level_db(stft(torch.from_numpy(samples))).numpy()
    return levels


def _read_mono(path: Path) -> tuple[Samples, int]:
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path} cannot be read as audio; check the name.") from error
    return samples.mean(axis=1), rate


def main(arguments: list[str] | None = None) -> None:
    """Reads the two recordings and writes the picture; the ending decides its format."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("noisy", type=Path)
    parser.add_argument("denoised", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args(arguments)
    try:
        (noisy, rate), (denoised, other_rate) = (
            _read_mono(path) for path in (given.noisy, given.denoised)
        )
        if rate != other_rate:
            raise UserError(f"{given.denoised} has another sample rate than {given.noisy}.")
    except UserError as error:
        parser.error(str(error))
    titles = f"noisy: {given.noisy.name}", f"denoised: {given.denoised.name}"
    figure = spectrogram_figure(dict(zip(titles, (noisy, denoised), strict=True)), rate)
    # A fixed software name keeps the file the same bytes from one run to the next.
    software = {"Software": "audio_denoising"}
    save_whole(given.picture, lambda path: figure.savefig(path, metadata=software))


if __name__ == "__main__":
    main()
