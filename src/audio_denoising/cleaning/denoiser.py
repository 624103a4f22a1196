"""The one object users hold: noisy speech in, clean speech out, same length, rate and channels.

How a signal is cleaned is in `cleaning.causal` (v5) and `cleaning.windows` (v2 to v4), how a file
is in `cleaning.recording`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO, cast, overload

import numpy as np

from audio_denoising.cleaning.causal import CausalCleaner
from audio_denoising.cleaning.cleaner import load_cleaner
from audio_denoising.cleaning.recording import Progress, Report, clean_recording
from audio_denoising.cleaning.settings import Job, Settings, checked_rate
from audio_denoising.cleaning.stream import Stream
from audio_denoising.dsp.level import ActiveLevel
from audio_denoising.errors import UserError
from audio_denoising.media.arrays import Audio, from_samples, to_samples
from audio_denoising.media.formats import default_output
from audio_denoising.media.reading import read_audio
from audio_denoising.models.hub import find_weights
from audio_denoising.models.versions import DEFAULT
from audio_denoising.paths import refuse_address
from audio_denoising.samples import Samples

if TYPE_CHECKING:
    import torch

    from audio_denoising.cleaning.windows import Model

Content = str | os.PathLike[str] | BinaryIO
"""The name of a file, or an open one."""


class Denoiser:
    """Removes noise from speech with one network. It can be pickled, and shared by threads.

    Args:
        model: a version whose weights ship with the package (``v5``), a checkpoint file (a name
            that ends in ``.safetensors`` or ``.pth``, or has a folder), or a network of your own,
            which takes noisy images ``(N, 1, 256, 256)`` and returns predicted clean ones. Of a
            module a copy is used, in evaluation mode and on the device; yours stays as it is.
        name: what to call the model in reports.
        device: where to compute: ``auto``, ``cpu``, ``cuda`` ...; ``auto`` takes a GPU where there
            is one. v5 always computes on the CPU (`cleaning.causal` says why).
        batch_size: windows of 2.55 s shown to the model at once.

    Raises:
        UserError: unknown version, unreadable checkpoint, or unknown device.
    """

    def __init__(
        self,
        model: str | Path | Model = DEFAULT,
        *,
        name: str = "",
        device: str | torch.device = "auto",
        batch_size: int = 8,
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"batch_size is {batch_size!r}: give a whole number of 1 or more")
        self._cleaner = load_cleaner(model, name=name, device=device, batch_size=batch_size)

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Denoiser:
        """A denoiser of weights laid out as model hubs do: ``Denoiser.from_pretrained("me/v5")``.

        Args:
            name: a folder with ``model.safetensors``, such as ``denoise export`` writes, or the
                name of a model on the Hugging Face hub, which is downloaded once (that needs the
                package huggingface_hub). UserError for what is neither.
            options: those of :class:`Denoiser` but the model.
        """
        return cls(find_weights(name), **options)

    def __repr__(self) -> str:
        return f"Denoiser({self.name} on {self._cleaner.device})"

    @property
    def name(self) -> str:
        """What the model is called."""
        return self._cleaner.name

    @overload
    def __call__(
        self,
        x: Content,
        sample_rate: int | None = None,
        *,
        strength: float = 100.0,
        limit: float | None = None,
    ) -> tuple[Samples, int]: ...

    @overload
    def __call__(
        self, x: Audio, sample_rate: int, *, strength: float = 100.0, limit: float | None = None
    ) -> Audio: ...

    def __call__(
        self,
        x: Audio | Content,
        sample_rate: int | None = None,
        *,
        strength: float = 100.0,
        limit: float | None = None,
    ) -> Audio | tuple[Samples, int]:
        """Denoise an array, a tensor, or the content of a file.

        Args:
            x: waveform ``(samples,)`` or ``(channels, samples)`` of any length. Floating point with
                full scale at 1, or int16 or int32. Or a file, by its name or opened for reading
                in binary, which is read as a whole; `denoise_file` cleans one of any length into
                another.
            sample_rate: in Hz, a whole number. Of a file it is known; if given, it must be that.
            strength: percent of the noise removal; its formula, and the next, are in `Settings`.
            limit: dB by which noise is turned down at most.

        Returns:
            The same type, shape and dtype (and device, for a tensor). Integers that would go beyond
            full scale stay at it. For a file a pair: float32 ``(channels, samples)``, and the
            sample rate in Hz.

        Raises:
            UserError: the array is not such a waveform, the file cannot be read, or an option is
                out of range.
        """
        settings = Settings(strength, limit)
        given = None if sample_rate is None else checked_rate(sample_rate)
        if isinstance(x, str | os.PathLike) or hasattr(x, "read"):
            samples, rate = _read(cast(Content, x))
            if given not in (None, rate):
                raise UserError(f"the file has {rate} Hz, not {given}: leave the sample rate out")
            return self._clean(samples, checked_rate(rate), settings), rate
        samples = to_samples(x)
        if given is None:
            raise UserError("give the sample rate of the array, for example denoiser(x, 16000)")
        return from_samples(self._clean(samples, given, settings), like=x)

    def denoise_file(
        self,
        input: str | os.PathLike[str],
        output: str | os.PathLike[str] | None = None,
        *,
        strength: float = 100.0,
        limit: float | None = None,
        save_noise: str | os.PathLike[str] | None = None,
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
            output: the file to write; its extension decides the format, and its folder is made
                where need be. Left out, it is ``NAME_denoised.wav`` beside the input (a video
                stays one).
            strength, limit: as in ``denoiser(x, rate, strength=..., limit=...)``.
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
        for name in (input, *(name for name in (output, save_noise) if name is not None)):
            if not isinstance(name, str | os.PathLike):
                raise UserError(
                    f"denoise_file takes names of files, not a {type(name).__name__}: save it to a "
                    f"file, or call the Denoiser itself with it"
                )
        refuse_address(str(input))
        input = Path(input)
        if in_place and output is not None and Path(output) != input:
            raise UserError("replacing the input and writing another output exclude each other")
        path = Path(output) if output is not None else input if in_place else default_output(input)
        noise = None if save_noise is None else str(Path(save_noise))
        settings = Settings(strength, limit, force, in_place, salvage)
        job = Job(str(input), str(path), noise)
        return clean_recording(self._cleaner, job, settings, progress)

    def stream(
        self,
        sample_rate: int,
        channels: int = 1,
        *,
        strength: float = 100.0,
        limit: float | None = None,
    ) -> Stream:
        """Opens a signal that is cleaned while it goes on; many may be open at once.

        Args:
            sample_rate: in Hz, from 2000 to 192000.
            channels: of the signal.
            strength, limit: as in ``denoiser(x, rate, strength=..., limit=...)``.

        Raises:
            UserError: the model is not causal, or an option is out of range.
        """
        if not isinstance(self._cleaner, CausalCleaner):
            raise UserError(
                f"{self.name} hears windows of 2.55 s and cannot clean live sound: take the model "
                f"v5"
            )
        if not isinstance(channels, int) or channels < 1:
            raise UserError(f"channels is {channels!r}: give a whole number of 1 or more")
        chosen = Settings(strength=strength, limit=limit)
        return Stream(self._cleaner.open(checked_rate(sample_rate), channels), chosen)

    def _clean(self, samples: Samples, rate: int, settings: Settings) -> Samples:
        """Denoise samples ``(C, L)``, as many as there are."""
        if not samples.size:
            return samples
        level = None
        if self._cleaner.needs_level:
            level = ActiveLevel(rate)
            level.add(samples)
        parts = self._cleaner.clean([samples], rate, level, lambda seconds: None)
        return np.concatenate([settings.mix(noisy, clean) for noisy, clean in parts], axis=1)


@overload
def denoise(
    x: Content, sample_rate: int | None = None, model: str | Path | Model = DEFAULT, **options: Any
) -> tuple[Samples, int]: ...


@overload
def denoise(
    x: Audio, sample_rate: int, model: str | Path | Model = DEFAULT, **options: Any
) -> Audio: ...


def denoise(
    x: Any,
    sample_rate: Any = None,
    model: str | Path | Model = DEFAULT,
    *,
    device: str | torch.device = "auto",
    **options: Any,
) -> Any:
    """Denoise an array, a tensor or the content of a file: ``y = denoise(x, sample_rate)``.

    For many recordings, make one :class:`Denoiser` and call that: the weights load once. The
    arguments, what comes out and what is refused are its own.
    """
    return Denoiser(model, device=device)(x, sample_rate, **options)


def denoise_file(
    input: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    model: str | Path | Model = DEFAULT,
    *,
    device: str | torch.device = "auto",
    **options: Any,
) -> Report:
    """Denoise a file with a shipped model: ``denoise_file("talk.mp3", "talk_clean.wav")``.

    The same as :meth:`Denoiser.denoise_file`.
    """
    return Denoiser(model, device=device).denoise_file(input, output, **options)


def _read(x: Content) -> tuple[Samples, int]:
    """The samples of a file, and their rate; of an open one by way of a temporary file."""
    if isinstance(x, str | os.PathLike):
        return read_audio(Path(x) if not isinstance(x, str) else x)
    with TemporaryDirectory(prefix="denoise-") as folder:
        path = Path(folder) / "the file"
        try:
            with path.open("wb") as copied:
                shutil.copyfileobj(x, copied)
            return read_audio(path)
        except TypeError as error:
            raise UserError("the file is opened as text: open it in binary, with 'rb'") from error
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}{os.sep}", "")) from error
