"""A signal cleaned by v5 as it comes: block by block, at its own sample rate, with carried state.

A window of 32 ms has bins 31.25 Hz apart at every rate. The network hears the lowest 256 of them,
as it did in training at 16 kHz; the bins above get the gain of the top of that band. So there is no
resampler, no level to be known beforehand, and whatever the blocks are, the same samples come out.

What is carried from block to block: samples that do not fill a hop yet, the last hop of input, the
half-finished hop of output, and the recurrent states of the network (`nn.GRU`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.cleaning.windows import Advance
from audio_denoising.dsp import compressed_spectrum as spectrum
from audio_denoising.dsp.level import ActiveLevel
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.errors import UserError
from audio_denoising.models.causal_frames import FrameNetwork
from audio_denoising.samples import Samples

LOWEST_RATE, HIGHEST_RATE = 2_000, 192_000  # Hz
_LONGEST = 256  # frames that are computed at once, so that memory stays bounded
_FEW = 8  # frames, below which `_Hop` does them sooner one by one


class CausalStream:
    """One signal of some channels, cleaned as it comes.

    The first sample that `push` returns is the first that it was given, so nothing is late but by
    what is still held: between one and two hops, `latency` at most.

    Args:
        network: v5's, in evaluation mode, its normalisations folded (`nn.folded`); copied.
        rate: samples per second.
        channels: which the network hears apart from each other.
        device: where it computes.

    Raises:
        UserError: a rate that v5 does not hear.
    """

    def __init__(
        self, network: nn.Module, rate: int, channels: int = 1, device: str | torch.device = "cpu"
    ) -> None:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise UserError(
                f"v5 cleans sound of {LOWEST_RATE} to {HIGHEST_RATE} samples per second, not of "
                f"{rate}: convert the recording, for example to 16000 Hz"
            )
        self.rate, self.channels, self.device = rate, channels, torch.device(device)
        self._network = copy.deepcopy(network)
        self._recurrent = [m for m in self._network.modules() if isinstance(m, nn.GRU)]
        self._transform = HalfOverlap.at(rate, device=self.device)
        self._hop = self._single_hop()
        self.reset()

    def _single_hop(self) -> _Hop | None:
        if self.device.type != "cpu":
            return None
        return _Hop(FrameNetwork(self._network, self.channels), self._transform)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_hop": None}  # buffers and views: made anew

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._hop = self._single_hop()

    @property
    def latency(self) -> int:
        """Samples by which output comes later than input at most: one window, 32 ms."""
        return 2 * self._transform.hop

    def reset(self) -> None:
        """Begins a new signal."""
        hop = self._transform.hop
        self._waiting = np.zeros((self.channels, 0), np.float32)
        self._before = torch.zeros(self.channels, hop, device=self.device)
        self._tail = torch.zeros(self.channels, hop, device=self.device)
        self._early = hop  # samples of the silence in front that are still to be dropped
        self._taken = 0
        for layer in self._recurrent:
            layer.first_state = None

    def push(self, samples: Samples) -> Samples:
        """Takes samples ``(channels, n)`` and returns those that are finished, ``(channels, m)``.

        Raises:
            UserError: another number of channels, or a sample that is not a number; the stream
                stays as it was.
        """
        if samples.ndim != 2 or len(samples) != self.channels:
            raise UserError(
                f"this stream has {self.channels} channels: give it samples of that many rows, not "
                f"{samples.shape}"
            )
        if not np.isfinite(samples).all():
            place = self._taken + int(np.argmin(np.isfinite(samples).all(axis=0)))
            raise UserError(
                f"sample {place} ({place / self.rate:.3f} s) is not a number: the recording is "
                f"damaged there"
            )
        self._taken += samples.shape[1]
        hop = self._transform.hop
        if samples.shape[1] == hop and not self._waiting.shape[1]:
            out = self._frames(samples.astype(np.float32, copy=False))
        else:
            out = self._whole_hops(np.concatenate((self._waiting, samples), 1, dtype=np.float32))
        dropped = min(self._early, out.shape[1])
        self._early -= dropped
        return out[:, dropped:]

    def _whole_hops(self, samples: Samples) -> Samples:
        """`_frames` of the whole hops; what is left over waits."""
        hop = self._transform.hop
        whole = samples.shape[1] // hop * hop
        self._waiting = samples[:, whole:]
        at_once = hop if self._hop is not None and whole < _FEW * hop else _LONGEST * hop
        parts = [
            self._frames(samples[:, start : min(whole, start + at_once)])
            for start in range(0, whole, at_once)
        ]
        return np.concatenate(parts, axis=1) if parts else samples[:, :0]

    def flush(self) -> Samples:
        """What is still held, ``(channels, m)``; begins a new signal."""
        hop = self._transform.hop
        held = self._taken - max(0, self._taken // hop - 1) * hop
        missing = 2 * hop - self._waiting.shape[1]
        rest = self.push(np.zeros((self.channels, missing), np.float32))[:, :held]
        self.reset()
        return rest

    @torch.inference_mode()
    def _frames(self, samples: Samples) -> Samples:
        """Whole hops ``(channels, T hop)`` -> the hops before them, cleaned, likewise."""
        single, hop, transform = self._hop, self._transform.hop, self._transform
        if single is not None and samples.shape[1] == hop:
            if self._before is not single.new:
                single.new.copy_(self._before)
                single.tail.copy_(self._tail)
                self._before, self._tail = single.new, single.tail
            cleaned = single(samples)
            self._keep_states()
            return cleaned
        new = torch.from_numpy(samples).to(self.device)
        heard = transform.analyse(torch.cat((self._before, new), 1))
        self._before = new[:, -hop:].clone()
        blocks = transform.synthesise(heard * self._gains(heard))
        blocks[:, :hop] += self._tail
        self._tail = blocks[:, -hop:].clone()
        return blocks[:, :-hop].cpu().numpy()

    def _gains(self, heard: Tensor) -> Tensor:
        """Complex gains for spectra (T, N, bins), within the unit disc."""
        bins = heard.shape[-1]
        band = min(spectrum.BINS, bins - 1)
        compressed = spectrum.compress(heard[..., :band])
        if band < spectrum.BINS:  # a low rate: there is nothing above
            compressed = torch.nn.functional.pad(compressed, (0, spectrum.BINS - band))
        answer = self._network(spectrum.features(compressed))
        self._keep_states()
        mask = spectrum.as_complex(answer)[..., :band]
        # Compressed spectra were masked in training; |M Xc|^(1/0.3) = |M|^(7/3) |M| |X|.
        gains = spectrum.decompress(mask)
        above = gains[..., -spectrum.TOP :].abs().mean(-1, keepdim=True)
        whole = gains.new_empty(*gains.shape[:-1], bins)
        whole[..., :band] = gains
        whole[..., band:] = above
        return whole

    def _keep_states(self) -> None:
        for layer in self._recurrent:
            layer.first_state = layer.last_state


class _Hop:
    """What `CausalStream._frames` does, for a single hop: the same steps in buffers made once.

    Attributes:
        new: (channels, hop), the newest input: written before the call, the past one after it.
        tail: (channels, hop), the half-finished hop of output.
    """

    def __init__(self, network: FrameNetwork, transform: HalfOverlap) -> None:
        self.network, self.transform = network, transform
        channels, hop = network.signals, transform.hop
        band = min(spectrum.BINS, hop)
        self.frame, self.windowed = torch.zeros(2, channels, transform.size)
        self.before, self.new = self.frame.split(hop, 1)
        self.spectrum = torch.empty(channels, hop + 1, dtype=torch.complex64)
        self.inside, self.beyond = self.spectrum.split((band, hop + 1 - band), 1)
        self.parts = torch.view_as_real(self.inside)
        self.modulus, self.share = torch.empty(2, channels, band)
        self.factor = self.share[..., None]
        shown = network.features.unflatten(-1, (4, 3)).flatten(1, 2)[:, :band]
        self.shown, self.shown_modulus = shown[..., :2], shown[..., 2]
        self.mask = spectrum.as_complex(network.mask)[:, :band]
        self.mask_modulus = network.modulus[:, :band]
        self.top = self.modulus[:, -spectrum.TOP :]
        self.mean = torch.full((self.top.shape[1], 1), 1 / self.top.shape[1])
        self.above = torch.empty(channels, 1)
        self.sound = torch.empty(channels, transform.size)
        self.early, self.late = (half.numpy() for half in self.sound.split(hop, 1))
        self.tail = torch.zeros(channels, hop)
        self.heard, self.held = self.new.numpy(), self.tail.numpy()  # the same memory

    def __call__(self, samples: Samples) -> Samples:
        """The hop before `samples`, cleaned; both (channels, hop)."""
        modulus, share, transform = self.modulus, self.share, self.transform
        self.before.copy_(self.new)
        self.heard[:] = samples
        torch.mul(self.frame, transform.window, out=self.windowed)
        torch.fft.rfft(self.windowed, out=self.spectrum)
        torch.abs(self.inside, out=modulus)
        torch.clamp(modulus, min=spectrum.FLOOR, out=share)
        share.pow_(spectrum.POWER - 1)
        torch.mul(self.parts, self.factor, out=self.shown)
        torch.mul(modulus, share, out=self.shown_modulus)
        self.network.answer()
        torch.pow(self.mask_modulus, spectrum.DECOMPRESSION, out=share)
        torch.mul(self.mask_modulus, share, out=modulus)
        self.inside.mul_(self.mask)
        self.parts.mul_(self.factor)
        self.beyond.mul_(torch.mm(self.top, self.mean, out=self.above))
        sound = torch.fft.irfft(self.spectrum, transform.size)
        torch.mul(sound, transform.dual, out=self.sound)
        cleaned: Samples = self.held + self.early
        self.held[:] = self.late
        return cleaned


@dataclass(frozen=True)
class CausalCleaner:
    """v5's network, and where it computes; the counterpart of `windows.WindowedCleaner`.

    Args:
        network: in evaluation mode, its normalisations folded.
        name: what to call it in reports.
        device: where it computes.
    """

    needs_level: ClassVar[bool] = False

    network: nn.Module
    name: str
    device: torch.device

    def open(self, rate: int, channels: int = 1) -> CausalStream:
        """A stream of its own for one signal; many may be open at once, each in its own thread."""
        return CausalStream(self.network, rate, channels, self.device)

    def clean(
        self, blocks: Iterable[Samples], rate: int, level: ActiveLevel | None, advance: Advance
    ) -> Iterator[tuple[Samples, Samples]]:
        """Cleans a signal as `WindowedCleaner.clean` does, in one pass; no level is needed."""
        stream: CausalStream | None = None
        held = np.zeros((0, 0), np.float32)
        for block in blocks:
            if stream is None:
                stream, held = self.open(rate, len(block)), block[:, :0]
            held = np.concatenate((held, block), axis=1)
            clean = stream.push(block)
            advance(block.shape[1] / rate)
            yield held[:, : clean.shape[1]], clean
            held = held[:, clean.shape[1] :]
        if stream is not None:
            yield held, stream.flush()
