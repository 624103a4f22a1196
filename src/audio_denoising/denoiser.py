"""The one object users hold: noisy speech in, clean speech out, same length, rate and channels.

How a signal is cleaned is in ``cleaning.stream``, how a file is in ``cleaning.recording``.
"""

from __future__ import annotations

from pathlib import Path
from typing import overload

import numpy as np
import torch

from audio_denoising.cleaning.recording import Report, Target, checked_rate, clean_recording
from audio_denoising.cleaning.stream import Model, Progress, StreamCleaner
from audio_denoising.device import pick_device
from audio_denoising.dsp.level import ActiveLevel
from audio_denoising.dsp.resampling import Samples
from audio_denoising.dsp.strength import Strength
from audio_denoising.errors import UserError
from audio_denoising.io.arrays import Audio, from_samples, to_samples
from audio_denoising.io.reading import read_audio
from audio_denoising.io.writing import default_output

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Denoiser:
    """Removes noise from speech with one network. It can be pickled, and shared by threads.

    Args:
        model: takes noisy images ``(N, 1, 256, 256)`` and returns predicted clean ones.
        name: what to call the model in reports.
        device: where the model computes: ``auto``, ``cpu``, ``cuda`` ...
        batch_size: windows of 2.55 s shown to the model at once.
        precision: ``fp32``, or ``bf16`` to show the model images in bfloat16, which is faster where
            the processor has it and less exact (a level is off by up to 0.3 dB).

    Raises:
        UserError: unknown device or precision.
    """

    def __init__(
        self,
        model: Model,
        *,
        name: str = "model",
        device: str = "cpu",
        batch_size: int = 8,
        precision: str = "fp32",
    ) -> None:
        if precision not in PRECISIONS:
            raise UserError(f"there is no precision {precision}: choose {' or '.join(PRECISIONS)}")
        dtype = PRECISIONS[precision]
        if isinstance(model, torch.nn.Module):  # ours take the type of the image by themselves
            model = model.to(dtype)
        self._cleaner = StreamCleaner(model, name, pick_device(device), dtype, batch_size)

    @property
    def name(self) -> str:
        """What the model is called."""
        return self._cleaner.name

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self._cleaner.device

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = "v4", device: str = "auto", *, precision: str = "fp32"
    ) -> Denoiser:
        """Load trained weights.

        Args:
            name_or_path: a version whose weights ship with the package (``v4``), or a checkpoint
                file (anything that ends in ``.pth`` or names a folder).
            device: where to compute; ``auto`` takes a CUDA device where there is one.
            precision: ``fp32`` or ``bf16``.

        Raises:
            UserError: unknown version, unreadable checkpoint, unknown device or precision.
        """
        # Here, not above: a model of your own needs neither.
        from audio_denoising.models.unet import VERSIONS
        from audio_denoising.training.checkpoint import build_model, load_checkpoint, shipped

        chosen = pick_device(device)
        text = str(name_or_path)
        is_file = isinstance(name_or_path, Path) or text.endswith(".pth") or Path(text).name != text
        if not is_file and text not in VERSIONS:
            raise UserError(
                f"there is no version {text}: choose one of {', '.join(VERSIONS)}, or give a "
                f"checkpoint file whose name ends in .pth"
            )
        checkpoint = load_checkpoint(Path(text) if is_file else shipped(text))
        name = f"{checkpoint.version}-{checkpoint.size}"
        model = build_model(checkpoint, chosen)
        return cls(model, name=name, device=str(chosen), precision=precision)

    @overload
    def __call__(
        self,
        x: str | Path,
        sample_rate: None = None,
        *,
        strength: float = 100.0,
        limit: float | None = None,
        progress: Progress | None = None,
    ) -> tuple[Samples, int]: ...

    @overload
    def __call__(
        self,
        x: Audio,
        sample_rate: int,
        *,
        strength: float = 100.0,
        limit: float | None = None,
        progress: Progress | None = None,
    ) -> Audio: ...

    def __call__(
        self,
        x: Audio | str | Path,
        sample_rate: int | None = None,
        *,
        strength: float = 100.0,
        limit: float | None = None,
        progress: Progress | None = None,
    ) -> Audio | tuple[Samples, int]:
        """Denoise an array, a tensor, or the content of a file.

        ``denoised = x - noise``: what was taken out is the difference.

        Args:
            x: waveform ``(samples,)`` or ``(channels, samples)`` of any length. Floating point with
                full scale at 1, or int16 or int32. Or a file, which is read as a whole;
                `denoise_file` cleans one of any length into another.
            sample_rate: in Hz, a whole number. Of a file it is known.
            strength: percent of the noise removal, 100 for all of it:
                ``out = s · clean + (1 - s) · x`` with ``s = strength / 100``.
            limit: no noise is turned down by more dB than this:
                ``clean`` above is ``(1 - f) · clean + f · x`` with ``f = 10^(-limit / 20)``.
            progress: called now and then with (seconds done, seconds in all).

        Returns:
            The same type, shape and dtype (and device, for a tensor). Integers that would go beyond
            full scale stay at it. For a file: float32 ``(channels, samples)``, and the sample rate.

        Raises:
            UserError: the array is not such a waveform (one that lies the other way round is told
                to be), the file cannot be read, or an option is out of range.
        """
        chosen = Strength(strength, limit)
        if isinstance(x, str | Path):
            samples, rate = read_audio(x)
            return self._clean(samples, checked_rate(rate), chosen, progress), rate
        samples = to_samples(x)
        if sample_rate is None:
            raise UserError("give the sample rate of the array, for example denoiser(x, 16000)")
        rate = checked_rate(sample_rate)
        return from_samples(self._clean(samples, rate, chosen, progress), like=x)

    def denoise_file(
        self,
        input: str | Path,
        output: str | Path | None = None,
        *,
        strength: float = 100.0,
        limit: float | None = None,
        save_noise: str | Path | None = None,
        force: bool = False,
        in_place: bool = False,
        salvage: bool = False,
        progress: Progress | None = None,
    ) -> Report:
        """Denoise a file of any length into another, in bounded memory.

        The output has the length, rate and channels of the input, and its bit depth where the
        output's format allows. It appears whole or not at all.

        Args:
            input: any audio or video file that FFmpeg reads.
            output: the file to write; its extension decides the format. Left out, it is
                ``NAME_denoised.wav`` beside the input (a video stays one).
            strength: percent of the noise removal, as in ``denoiser(x, rate, strength=...)``.
            limit: dB by which noise is turned down at most, likewise.
            save_noise: a second file for what was taken out: input less output.
            force: replace existing outputs.
            in_place: replace the input, once its cleaned form is complete; ``output`` is left out.
            salvage: of a damaged input clean what can be read, and tell so in `Report.damage`;
                otherwise it is refused.
            progress: called now and then with (seconds done, seconds in all).

        Raises:
            UserError: the input cannot be read, an output cannot be written, or an option is out of
                range.
        """
        input = Path(input)
        if in_place and output is not None and Path(output) != input:
            raise UserError("replacing the input and writing another output exclude each other")
        path = Path(output) if output is not None else input if in_place else default_output(input)
        noise = None if save_noise is None else Path(save_noise)
        return clean_recording(
            self._cleaner,
            input,
            Target(path, noise, force, in_place),
            Strength(strength, limit),
            salvage=salvage,
            progress=progress or _unseen,
        )

    def _clean(
        self, samples: Samples, rate: int, strength: Strength, progress: Progress | None
    ) -> Samples:
        """Denoise samples ``(C, L)``, as many as there are."""
        if not samples.size:
            return samples
        level = ActiveLevel(rate)
        level.add(samples)
        parts = self._cleaner.stream([samples], rate, level, progress or _unseen)
        return np.concatenate([strength.mix(noisy, clean) for noisy, clean in parts], axis=1)


def denoise(
    x: Audio,
    sample_rate: int,
    model: str | Path = "v4",
    *,
    device: str = "auto",
    strength: float = 100.0,
    limit: float | None = None,
) -> Audio:
    """Denoise an array or tensor with a shipped model: ``y = denoise(x, sample_rate)``.

    For many recordings, make one :class:`Denoiser` and call that: the weights load once.

    Args:
        x: waveform ``(samples,)`` or ``(channels, samples)``.
        sample_rate: in Hz.
        model: a shipped version, or a checkpoint file.
        device: where to compute; ``auto`` takes a CUDA device where there is one.
        strength: percent of the noise removal, see :meth:`Denoiser.__call__`.
        limit: dB by which noise is turned down at most.

    Returns:
        The same type, shape and dtype.

    Raises:
        UserError: the array is not a waveform, or the model or device is unknown.
    """
    denoiser = Denoiser.from_pretrained(model, device)
    return denoiser(x, sample_rate, strength=strength, limit=limit)


def denoise_file(
    input: str | Path,
    output: str | Path | None = None,
    model: str | Path = "v4",
    *,
    device: str = "auto",
    strength: float = 100.0,
    limit: float | None = None,
    save_noise: str | Path | None = None,
    force: bool = False,
) -> Report:
    """Denoise a file with a shipped model: ``denoise_file("talk.mp3", "talk_clean.wav")``.

    The arguments are those of :meth:`Denoiser.denoise_file`, the model and device those of
    :meth:`Denoiser.from_pretrained`; so are the errors.
    """
    return Denoiser.from_pretrained(model, device).denoise_file(
        input, output, strength=strength, limit=limit, save_noise=save_noise, force=force
    )


def _unseen(done: float, total: float) -> None:
    """A progress that nobody watches."""
