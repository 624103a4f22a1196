"""The short-time Fourier transform of half-overlapped windows, its inverse, and its adjoints.

A frame is two neighbouring blocks of `hop` samples under a periodic Hann window of 2 hop samples:

    X_t = rfft(w [x_t, x_(t+1)])        x_t the t-th block
    y_t = second half of v irfft(X_(t-1)) + first half of v irfft(X_t),   v = w / (w^2 + w'^2)

with w' the window of the other frame that covers a sample (Griffin and Lim, 1984), both from
`frames.windows`. So T frames need T + 1 blocks and a stream carries one block of input and one of
output from call to call; a file is the same with a block of zeros in front and behind.

The adjoint of a linear map A is what carries gradients back through it: <A x, g> = <x, A* g>.
Complex gradients are G = dL/dRe + i dL/dIm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audio_denoising.dsp import frames


class HalfOverlap:
    """The transform for one hop, the samples by which windows of 2 hop samples move on."""

    def __init__(
        self, hop: int = 256, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> None:
        self.hop = hop
        self.size = 2 * hop
        self.window, self.dual = (
            torch.from_numpy(window).to(device=device, dtype=dtype)
            for window in frames.windows(hop)
        )
        # Each bin but the first and last stands for two conjugate ones.
        weights = torch.full((hop + 1,), 2.0 / self.size, dtype=torch.float64)
        weights[0] = weights[-1] = 1.0 / self.size
        self._conjugates = weights.to(device=device, dtype=dtype)

    def analyse(self, waveform: Tensor) -> Tensor:
        """Waveforms (N, (T + 1) hop) -> spectra (T, N, hop + 1); ValueError for other lengths."""
        if waveform.dim() != 2 or waveform.shape[1] % self.hop or not waveform.shape[1]:
            raise ValueError(
                f"HalfOverlap takes (N, (T + 1) {self.hop}) and got {tuple(waveform.shape)}"
            )
        return torch.fft.rfft(self._frames(waveform) * self.window)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Spectra (T, N, hop + 1) -> waveforms (N, (T + 1) hop).

        The first and last block are half of what they would be between neighbours.
        """
        return self._overlap_add(torch.fft.irfft(spectrum, self.size) * self.dual)

    # With c_k the number of conjugate bins that bin k stands for, irfft(U)_n is
    # 1/M sum_k c_k Re(U_k e^(2 pi i k n / M)); its adjoint is c_k / M rfft, real at both ends.

    def synthesise_adjoint(self, gradient: Tensor) -> Tensor:
        """Gradients at waveforms (N, (T + 1) hop) -> gradients at spectra (T, N, hop + 1)."""
        spectrum = torch.fft.rfft(self._frames(gradient) * self.dual) * self._conjugates
        torch.view_as_real(spectrum)[..., :: self.hop, 1] = 0
        return spectrum

    def _frames(self, waveform: Tensor) -> Tensor:
        """(N, (T + 1) hop) -> (T, N, 2 hop)."""
        blocks = waveform.reshape(len(waveform), -1, self.hop).transpose(0, 1)
        return torch.cat((blocks[:-1], blocks[1:]), -1)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """(T, N, 2 hop) -> (N, (T + 1) hop): the transpose of `_frames`."""
        count, signals, _ = frames.shape
        blocks = frames.new_empty(count + 1, signals, self.hop)
        blocks[:-1] = frames[..., : self.hop]
        blocks[-1] = 0
        blocks[1:] += frames[..., self.hop :]
        return blocks.transpose(0, 1).reshape(signals, -1)
