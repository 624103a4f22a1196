"""v5's network one frame at a time, for live sound: the same numbers, nothing allocated.

A frame is four million multiplications, 0.1 ms of work. Called layer by layer, the network would
spend ten times that on making views and asking for memory. Here every buffer and every view is
made once, and a frame is a list of tensor operations with their operands filled in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from audio_denoising import nn

Operation = Callable[[], object]

_WHOLE = 16  # columns at least: a product of 8 takes twice the time of one of 16, measured


class FrameNetwork:
    """A folded network (`nn.folded`) for single frames of N signals; states go through its GRUs.

    Args:
        network: as `causal.build` makes it, folded, in float32 on the CPU.
        signals: N.

    Attributes:
        features: (N, 64, 12), where the next frame is written before `answer`.
        mask: (N, 64, 8), where the answer is found.
        modulus: (N, 256), that of each complex number in it.
    """

    def __init__(self, network: nn.Module, signals: int) -> None:
        self.signals = signals
        self._operations: list[Operation] = []
        self._recurrent: list[tuple[nn.GRU, Tensor]] = []
        assert isinstance(network, nn.Sequential)
        level, head, _ = network.layers
        assert isinstance(head, nn.FrequencyConv)
        outputs, inputs, kernel = head.weight.data.shape
        first = self._level_input(level)
        self.features = _inside(first, 3)
        last = self._padded(64, inputs, kernel)
        self._add_level(level, first, _inside(last, kernel))
        self.mask = torch.empty(signals, 64, outputs)
        made = torch.empty(signals, 64, _WHOLE)
        self._convolve(head, last, made)
        self._do(self.mask.copy_, made[..., :outputs])
        self._radial_tanh()

    def __call__(self, features: Tensor) -> Tensor:
        """Features (1, N, 64, 12) -> mask (1, N, 64, 8), valid until the next call."""
        self.features.copy_(features[0])
        self.answer()
        return self.mask[None]

    def answer(self) -> None:
        """Makes `mask` for what was written into `features`."""
        for layer, state in self._recurrent:
            if layer.first_state is None:
                state.zero_()
            elif layer.first_state is not state:
                state.copy_(layer.first_state)
        for operation in self._operations:
            operation()
        for layer, state in self._recurrent:
            layer.last_state = state

    def _do(self, function: Callable[..., object], *operands: object, **named: object) -> None:
        self._operations.append(partial(function, *operands, **named))

    def _level_input(self, level: nn.Module) -> Tensor:
        assert isinstance(level, nn.UNetLevel) and isinstance(level.encode, nn.Sequential)
        convolution = level.encode.layers[0]
        assert isinstance(convolution, nn.FrequencyConv)
        _, inputs, kernel = convolution.weight.data.shape
        return self._padded(64, inputs, kernel)

    def _padded(self, bands: int, channels: int, kernel: int) -> Tensor:
        """Zeros with room for what a convolution sees beyond both ends."""
        return torch.zeros(self.signals, bands + kernel - 1, channels)

    def _add_level(self, level: nn.Module, x: Tensor, y: Tensor) -> None:
        """Encoder, what is below, decoder: padded x (N, 64 + 2, C) -> y (N, 64, C')."""
        assert isinstance(level, nn.UNetLevel)
        assert isinstance(level.encode, nn.Sequential) and isinstance(level.decode, nn.Sequential)
        encoder = level.encode.layers[0]
        assert isinstance(encoder, nn.FrequencyConv)
        wide = encoder.weight.data.shape[0]
        padded = self._padded(64, wide, 3)
        skip = _inside(padded, 3)
        self._convolve(encoder, x, made := torch.empty(self.signals, 64, wide))
        self._silu(made, skip)
        up = torch.empty(self.signals, 64, wide)
        if isinstance(level.inner, nn.UNetLevel):
            self._add_level(level.inner, padded, up)
        else:
            self._core(level.inner, skip, up)
        linear, _, *rest = level.decode.layers
        assert isinstance(linear, nn.Linear) and linear.bias is not None
        joined = torch.empty(self.signals, 64, wide)
        weight = linear.weight.data.t()
        self._product(linear.bias.data, skip, weight[:wide], joined)
        self._product(joined, up, weight[wide:], joined)
        if not rest:
            self._silu(joined, y)
            return
        between = self._padded(64, wide, 3)
        self._silu(joined, _inside(between, 3))
        assert isinstance(rest[0], nn.FrequencyConv)
        self._convolve(rest[0], between, joined)
        self._silu(joined, y)

    def _core(self, core: nn.Module, x: Tensor, y: Tensor) -> None:
        assert isinstance(core, nn.Sequential)
        down, narrow, *blocks, up, wide = core.layers
        assert isinstance(down, nn.BandMatrix) and isinstance(up, nn.BandMatrix)
        assert isinstance(narrow, nn.Linear) and isinstance(wide, nn.Linear)
        bands, features = len(down.weight.data), len(narrow.weight.data)
        coarse = torch.empty(self.signals, bands, x.shape[2])
        stream = torch.empty(self.signals, bands, features)
        fine = torch.empty(self.signals, 64, features)
        self._do(torch.bmm, _for_each(down.weight.data, self.signals), x, out=coarse)
        self._linear(narrow, coarse, stream)
        for block in blocks:
            assert isinstance(block, nn.Residual) and isinstance(block.inner, nn.Sequential)
            layers = block.inner.layers
            self._recur(layers, stream) if len(layers) == 2 else self._mix(layers, stream)
        self._do(torch.bmm, _for_each(up.weight.data, self.signals), stream, out=fine)
        self._linear(wide, fine, y)

    def _recur(self, layers: tuple[nn.Module, ...], stream: Tensor) -> None:
        """stream += linear(gru(stream)).

        Input and state lie side by side in one row, so that one product makes both gates'
        arguments, and what each of the two gives to the candidate.
        """
        gru, linear = layers
        assert isinstance(gru, nn.GRU) and isinstance(linear, nn.Linear)
        hidden, inputs = gru.hidden, stream.shape[2]
        rows = stream.view(-1, inputs)
        both = torch.zeros(len(rows), inputs + hidden)
        state = both[:, inputs:]
        self._recurrent.append((gru, state))
        from_input, from_state = gru.weight_ih_l0.data.t(), gru.weight_hh_l0.data.t()
        matrix = torch.zeros(inputs + hidden, 4 * hidden)
        matrix[:inputs, : 3 * hidden] = from_input
        matrix[inputs:, : 2 * hidden] = from_state[:, : 2 * hidden]
        matrix[inputs:, 3 * hidden :] = from_state[:, 2 * hidden :]
        bias_input, bias_state = gru.bias_ih_l0.data, gru.bias_hh_l0.data
        bias = torch.cat((bias_input, bias_state[2 * hidden :]))
        bias[: 2 * hidden] += bias_state[: 2 * hidden]
        made = torch.empty(len(rows), 4 * hidden)
        gates, new_input, new_state = made.split((2 * hidden, hidden, hidden), 1)
        reset, update = gates.chunk(2, 1)
        self._do(both[:, :inputs].copy_, rows)
        self._do(torch.addmm, bias, both, matrix, out=made)
        self._do(gates.sigmoid_)
        self._do(new_input.addcmul_, reset, new_state)
        self._do(new_input.tanh_)
        self._do(torch.lerp, new_input, state, update, out=state)
        self._add_linear(linear, state, rows)

    def _mix(self, layers: tuple[nn.Module, ...], stream: Tensor) -> None:
        """stream += linear(silu(band matrices(linear(stream))))."""
        first, matrices, _, last = layers
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        assert isinstance(matrices, nn.ChannelBandMatrix)
        bands, channels = stream.shape[1:]
        turned = torch.empty(channels, self.signals * bands)
        mixed = torch.empty(channels, self.signals, bands)
        self._do(torch.mm, first.weight.data, stream.view(-1, channels).t(), out=turned)
        rows = turned.view(channels, self.signals, bands)
        across = matrices.weight.data.transpose(1, 2).contiguous()
        self._do(torch.bmm, rows, across, out=mixed)
        self._silu(mixed, mixed)
        self._add_linear(last, mixed.view(channels, -1).t(), stream.view(-1, channels))

    def _linear(self, layer: nn.Linear, x: Tensor, y: Tensor) -> None:
        assert layer.bias is not None
        self._product(layer.bias.data, x, layer.weight.data.t(), y)

    def _add_linear(self, layer: nn.Linear, x: Tensor, y: Tensor) -> None:
        """y += W x + b, for rows (R, C)."""
        assert layer.bias is not None
        self._do(torch.addmm, y, x, layer.weight.data.t().contiguous(), out=y)
        self._do(y.add_, layer.bias.data)

    def _convolve(self, layer: nn.FrequencyConv, x: Tensor, y: Tensor) -> None:
        """Padded x (N, F + K - 1, C) -> y (N, F, C'): each place with its neighbours is one row.

        Where y has more than C' channels, those are zero.
        """
        outputs, inputs, kernel = layer.weight.data.shape
        columns = x.as_strided(
            (self.signals, x.shape[1] - kernel + 1, kernel * inputs),
            (x.stride(0), inputs, 1),
        )
        assert layer.bias is not None
        matrix = torch.zeros(kernel * inputs, y.shape[2])
        bias = torch.zeros(y.shape[2])
        matrix[:, :outputs] = layer.weight.data.permute(2, 1, 0).reshape(-1, outputs)
        bias[:outputs] = layer.bias.data
        self._product(bias, columns, matrix, y)

    def _product(self, start: Tensor, x: Tensor, matrix: Tensor, y: Tensor) -> None:
        """y = start + x matrix, for (N, R, C) and (C, C')."""
        across = matrix.contiguous()
        if self.signals == 1:  # a batch of one costs more than a plain product
            start = start[0] if start.dim() == 3 else start
            self._do(torch.addmm, start, x[0], across, out=y[0])
        else:
            self._do(torch.baddbmm, start, x, _for_each(across, self.signals), out=y)

    def _silu(self, x: Tensor, y: Tensor) -> None:
        shares = torch.empty_like(x)
        self._do(torch.sigmoid, x, out=shares)
        self._do(torch.mul, x, shares, out=y)

    def _radial_tanh(self) -> None:
        pairs = torch.view_as_complex(self.mask.view(self.signals, -1, 2))
        before, share, self.modulus = torch.empty(3, *pairs.shape)
        self._do(torch.abs, pairs, out=before)
        self._do(before.clamp_, min=1e-6)
        self._do(torch.tanh, before, out=self.modulus)
        self._do(torch.div, self.modulus, before, out=share)
        self._do(torch.view_as_real(pairs).mul_, share[..., None])


def _inside(padded: Tensor, kernel: int) -> Tensor:
    edge = kernel // 2
    return padded[:, edge : padded.shape[1] - edge]


def _for_each(matrix: Tensor, signals: int) -> Tensor:
    return matrix.expand(signals, *matrix.shape)
