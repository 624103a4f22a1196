"""The one object users hold: noisy speech in, clean speech out, same length, rate and channels.

A recording goes through in chunks of a minute (``dsp.chunks``); each is brought to 16 kHz
(``dsp.resampling``), cut into half-overlapped windows (``dsp.overlap``), shown to the network as
decibel images (``dsp.spectrum``) and brought back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audio_denoising.device import pick_device
from audio_denoising.dsp import spectrum
from audio_denoising.dsp.chunks import CHUNK_SECONDS, Chunk, chunks
from audio_denoising.dsp.overlap import overlap_add
from audio_denoising.dsp.resampling import Samples, carry_over, resample, resampled_length
from audio_denoising.errors import UserError
from audio_denoising.io.arrays import Audio, from_samples, to_samples
from audio_denoising.io.reading import AudioReader
from audio_denoising.io.writing import AudioWriter, check_output, default_output

Model = Callable[[Tensor], Tensor]
"""Takes noisy images ``(N, 1, 256, 256)`` in [0, 1] and returns the predicted clean ones."""

Progress = Callable[[float, float], None]
"""Called with the seconds of audio done and the seconds in all."""

_LOWEST_RATE, _HIGHEST_RATE = 1_000, 768_000


@dataclass(frozen=True)
class Report:
    """What a file took: ``seconds`` of audio, ``elapsed`` seconds of work, and who did it."""

    seconds: float
    elapsed: float
    model: str
    device: str
    output: Path

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work for one second of audio; below 1 keeps up."""
        return self.elapsed / self.seconds


class Denoiser:
    """Removes noise from speech with one network.

    Args:
        model: takes noisy images ``(N, 1, 256, 256)`` and returns predicted clean ones.
        name: what to call the model in reports.
        device: where the model computes: ``auto``, ``cpu``, ``cuda`` ...
        batch_size: windows of 2.55 s shown to the model at once.
    """

    def __init__(
        self, model: Model, *, name: str = "model", device: str = "cpu", batch_size: int = 8
    ) -> None:
        self.model = model
        self.name = name
        self.device = pick_device(device)
        self.batch_size = batch_size

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "v4", device: str = "auto") -> Denoiser:
        """Load trained weights.

        Args:
            name_or_path: a version whose weights ship with the package (``v4``), or a checkpoint
                file (anything that ends in ``.pth`` or names a folder).
            device: where to compute; ``auto`` takes a CUDA device where there is one.

        Raises:
            UserError: unknown version, unreadable checkpoint, or unknown device.
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
        return cls(build_model(checkpoint, chosen), name=name, device=str(chosen))

    def __call__(self, x: Audio, sample_rate: int, *, progress: Progress | None = None) -> Audio:
        """Denoise an array or tensor.

        Args:
            x: waveform ``(samples,)`` or ``(channels, samples)`` of any length. Floating point with
                full scale at 1, or int16 or int32.
            sample_rate: in Hz, a whole number.
            progress: called now and then with (seconds done, seconds in all).

        Returns:
            The same type, shape and dtype (and device, for a tensor).

        Raises:
            UserError: the array is not such a waveform.
        """
        samples = to_samples(x)
        rate = _checked_rate(sample_rate)
        if samples.size:
            parts = self._stream([samples], rate, samples.shape[1], progress)
            samples = np.concatenate(list(parts), axis=1)
        return from_samples(samples, like=x)

    def denoise_file(
        self,
        input: str | Path,
        output: str | Path | None = None,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Report:
        """Denoise an audio file of any length into another, in bounded memory.

        The output has the length, rate and channels of the input, and its bit depth where the
        output's format allows. It appears whole or not at all.

        Args:
            input: any file that libsndfile reads: WAV, FLAC, OGG, Opus, MP3, AIFF ...
            output: the file to write; its extension decides the format. Left out, it is
                ``NAME_denoised.wav`` beside the input.
            force: replace an existing output.
            progress: called now and then with (seconds done, seconds in all).

        Raises:
            UserError: the input cannot be read or the output cannot be written.
        """
        started = time.perf_counter()
        output = Path(output) if output is not None else default_output(input)
        with AudioReader(input) as reader:
            rate = _checked_rate(reader.rate)
            check_output(output, force=force)
            frames = 0
            with AudioWriter(
                output,
                rate,
                reader.channels,
                subtype=reader.subtype,
                frames=reader.frames,
                force=force,
            ) as writer:
                blocks = reader.blocks(CHUNK_SECONDS * rate)
                for part in self._stream(blocks, rate, reader.frames, progress):
                    writer.write(part)
                    frames += part.shape[1]
        elapsed = time.perf_counter() - started
        return Report(frames / rate, elapsed, self.name, str(self.device), output)

    def _stream(
        self, blocks: Iterable[Samples], rate: int, frames: int, progress: Progress | None
    ) -> Iterator[Samples]:
        """Denoise a signal that arrives in blocks; the parts that come out make up its length."""
        done = 0
        for chunk in chunks(blocks, rate):
            length = chunk.stop - chunk.start

            def report(windows: int, of: int, done: int = done, length: int = length) -> None:
                if progress is not None:
                    now = done + length * windows / of
                    progress(now / rate, max(now, frames) / rate)

            yield self._clean(chunk, rate, report)
            done += length

    def _clean(self, chunk: Chunk, rate: int, report: Callable[[int, int], None]) -> Samples:
        """Denoise one chunk and cut off its context."""
        noisy = resample(chunk.samples, rate, spectrum.SAMPLE_RATE)
        # One window of context on either side, so that the windows of all chunks are those of the
        # whole recording. What is left of the context only keeps the resampler's edges away.
        start = resampled_length(chunk.start, rate, spectrum.SAMPLE_RATE)
        stop = resampled_length(chunk.stop, rate, spectrum.SAMPLE_RATE)
        seen = slice(max(0, start - spectrum.SEGMENT), stop + spectrum.SEGMENT)
        denoised = noisy.copy()
        denoised[:, seen] = overlap_add(
            torch.from_numpy(noisy[:, seen]),
            self._clean_windows,
            batch_size=self.batch_size,
            progress=report,
        ).numpy()
        whole = carry_over(chunk.samples, rate, noisy, denoised)
        return whole[:, chunk.start : chunk.stop]

    @torch.inference_mode()
    def _clean_windows(self, windows: Tensor) -> Tensor:
        """Denoise windows ``(N, 40800)`` at 16 kHz."""
        noisy = spectrum.stft(windows.to(self.device))
        predicted = self.model(spectrum.image(noisy)[:, None])[:, 0]
        if not bool(torch.isfinite(predicted).all()):
            raise UserError(
                f"the model {self.name} returns values that are not numbers: its weights are "
                f"damaged, choose another model or train it again"
            )
        return spectrum.istft(spectrum.apply_image(noisy, predicted), spectrum.SEGMENT).cpu()


def denoise(x: Audio, sample_rate: int, model: str | Path = "v4", *, device: str = "auto") -> Audio:
    """Denoise an array or tensor with a shipped model: ``y = denoise(x, sample_rate)``.

    For many recordings, make one :class:`Denoiser` and call that: the weights load once.

    Args:
        x: waveform ``(samples,)`` or ``(channels, samples)``.
        sample_rate: in Hz.
        model: a shipped version, or a checkpoint file.
        device: where to compute; ``auto`` takes a CUDA device where there is one.

    Returns:
        The same type, shape and dtype.

    Raises:
        UserError: the array is not a waveform, or the model or device is unknown.
    """
    return Denoiser.from_pretrained(model, device)(x, sample_rate)


def _checked_rate(sample_rate: int) -> int:
    if int(sample_rate) != sample_rate or not _LOWEST_RATE <= sample_rate <= _HIGHEST_RATE:
        raise UserError(
            f"the sample rate {sample_rate} Hz is not a whole number between {_LOWEST_RATE} and "
            f"{_HIGHEST_RATE}: convert the recording, for example to 16000 Hz"
        )
    return int(sample_rate)
