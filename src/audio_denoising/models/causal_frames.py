"""v5's network one frame at a time: how recordings and live sound are cleaned.

A frame is four million multiplications, 0.1 ms of work. Called layer by layer, the network would
spend ten times that on making views and asking for memory. Here every buffer and every view is
made once, and a frame is a list of array operations with their operands filled in; on arrays this
small those of NumPy cost half as much as torch's. Layers without anything between them that bends
are multiplied out, and biases ride in the products, as the weights of a column of ones.

Sigmoids are taken by way of tanh, 2 sigmoid(x) = 1 + tanh(x / 2): what they are applied to is made
by halved weights, so that silu(x) = h + h tanh(h) with h = x / 2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from audio_denoising import nn
from audio_denoising.models.causal import POSITIONS
from audio_denoising.nn.activations import SMALLEST

Array: TypeAlias = NDArray[np.float32]
_ONE, _HALF, _SMALLEST = np.array([[1.0], [0.5], [SMALLEST]], np.float32)


class FrameNetwork:
    """A folded network (`nn.folded`) that answers the frames of one signal in turn.

    Args:
        network: as `causal.build` makes it, folded, in float32 on the CPU; its weights are copied.

    Attributes:
        features: (64, 12), where the next frame is written before `answer`.
        mask: complex (256,), where the answer is found.
        modulus: (256,), that of the mask.
        states: of the recurrences, (features, bands) each; zero at the beginning of a signal.
    """

    def __init__(self, network: nn.Module) -> None:
        self._operations: list[Callable[[], object]] = []
        self.states: list[Array] = []
        assert isinstance(network, nn.Sequential)
        level, head, _ = network.layers
        assert isinstance(level, nn.UNetLevel) and isinstance(head, nn.FrequencyConv)
        first, last = _padded(_encoder(level)), _padded(head)
        self.features = first[1:-1]
        self._add_level(level, first, last[1:-1])
        pairs = self._convolve(head, last)
        self.mask = pairs.reshape(-1).view(np.complex64)
        self._radial_tanh()

    def answer(self) -> None:
        """Makes `mask` for what was written into `features`."""
        for operation in self._operations:
            operation()

    def _do(self, function: Callable[..., object], *operands: object) -> None:
        self._operations.append(partial(function, *operands))

    def _add_level(self, level: nn.UNetLevel, x: Array, y: Array) -> None:
        """Encoder, what is below, decoder: padded x (64 + 2, C) -> y (64, C')."""
        assert isinstance(level.decode, nn.Sequential)
        linear, _, *convolution = level.decode.layers
        assert isinstance(linear, nn.Linear)
        wide = linear.weight.data.shape[0]
        padded = np.zeros((len(x), wide), np.float32)
        skip = padded[1:-1]
        self._silu(self._convolve(_encoder(level), x, _HALF), skip)
        weight, bias = _HALF * _weight(linear).T, _HALF * _bias(linear)
        if isinstance(level.inner, nn.UNetLevel):
            joined = np.ones((len(skip), 2 * wide + 1), np.float32)
            self._add_level(level.inner, padded, joined[:, wide:-1])
            matrix = np.vstack((weight, bias))
        else:
            joined, matrix = self._core(level.inner, skip, weight, bias)
        self._do(np.copyto, joined[:, :wide], skip)
        made = self._product(joined, matrix)
        if convolution:
            (layer, _) = convolution
            assert isinstance(layer, nn.FrequencyConv)
            between = _padded(layer)
            self._silu(made, between[1:-1])
            made = self._convolve(layer, between, _HALF)
        self._silu(made, y)

    def _core(
        self, core: nn.Module, skip: Array, weight: Array, bias: Array
    ) -> tuple[Array, Array]:
        """All between the innermost encoder and decoder, whose weight is (2 C, C).

        Features of bands lie the other way round here, (features, bands), so that gates and
        candidates are whole rows.

        Returns:
            Two factors: their product is what the decoder's linear layer gives. In front of its
            weight stands no activation, so that layer, the wide one and the way up to 64 positions
            are one matrix: joined (64, C + bands + 1), of which the first C columns are left to be
            filled with `skip`, times matrix (C + bands + 1, C), in which a frame's bands are rows.
        """
        assert isinstance(core, nn.Sequential)
        down, narrow, *blocks, up, wide = core.layers
        assert isinstance(down, nn.BandMatrix) and isinstance(up, nn.BandMatrix)
        assert isinstance(narrow, nn.Linear) and isinstance(wide, nn.Linear)
        coarse = self._product(_weight(down), skip)
        narrowed = self._product(_weight(narrow), coarse.T)
        x = self._sum(narrowed, np.repeat(_bias(narrow)[:, None], len(coarse), 1))
        for block in blocks:
            assert isinstance(block, nn.Residual) and isinstance(block.inner, nn.Sequential)
            layers = block.inner.layers
            x = self._sum(x, self._recur(layers, x) if len(layers) == 2 else self._mix(layers, x))
        channels = skip.shape[1]
        of_skip, of_wide = weight[:channels], weight[channels:]
        joined = np.hstack((skip, _weight(up), np.ones_like(skip[:, :1])))
        matrix = np.vstack(
            (of_skip, np.zeros((len(coarse), channels)), bias + _bias(wide) @ of_wide),
            dtype=np.float32,
        )
        self._do(np.dot, x.T, _weight(wide).T @ of_wide, matrix[channels:-1])
        return joined, matrix

    def _recur(self, layers: tuple[nn.Module, ...], x: Array) -> Array:
        """linear(gru(x)) for x (features, bands).

        Input and state lie one below the other, so that one product makes the arguments of both
        gates, and what each of the two gives to the candidate.
        """
        gru, linear = layers
        assert isinstance(gru, nn.GRU) and isinstance(linear, nn.Linear)
        inputs, hidden = len(x), gru.hidden
        both = np.ones((inputs + hidden + 1, x.shape[1]), np.float32)
        state = both[inputs:-1]
        state[:] = 0
        self.states.append(state)
        of_input, of_state = gru.weight_ih_l0.data.numpy(), gru.weight_hh_l0.data.numpy()
        bias_input, bias_state = gru.bias_ih_l0.data.numpy(), gru.bias_hh_l0.data.numpy()
        matrix = np.zeros((4 * hidden, len(both)), np.float32)
        matrix[: 3 * hidden, :inputs] = of_input
        matrix[: 2 * hidden, inputs:-1] = of_state[: 2 * hidden]
        matrix[3 * hidden :, inputs:-1] = of_state[2 * hidden :]
        matrix[: 3 * hidden, -1] = bias_input
        matrix[: 2 * hidden, -1] += bias_state[: 2 * hidden]
        matrix[3 * hidden :, -1] = bias_state[2 * hidden :]
        matrix[: 2 * hidden] *= _HALF
        matrix[3 * hidden :] *= _HALF
        self._do(np.copyto, both[:inputs], x)
        made = self._product(matrix, both)
        gates, new, of_past = np.split(made, (2 * hidden, 3 * hidden))
        reset, update = np.split(gates, 2)  # twice the gates, in fact
        self._do(np.tanh, gates, gates)
        self._do(np.add, gates, _ONE, gates)
        self._do(np.multiply, of_past, reset, of_past)
        self._do(np.add, new, of_past, new)
        self._do(np.tanh, new, new)
        self._do(np.subtract, state, new, state)
        self._do(np.multiply, state, update, state)
        self._do(np.multiply, state, _HALF, state)
        self._do(np.add, state, new, state)
        return self._product(_with_bias(linear), both[inputs:])

    def _mix(self, layers: tuple[nn.Module, ...], x: Array) -> Array:
        """linear(silu(band matrices(linear(x)))) for x (features, bands)."""
        first, matrices, _, last = layers
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        assert isinstance(matrices, nn.ChannelBandMatrix)
        turned = self._product(_HALF * _weight(first), x)
        mixed = np.empty_like(turned)
        across = np.ascontiguousarray(_weight(matrices).transpose(0, 2, 1))
        self._do(np.matmul, turned[:, None], across, mixed[:, None])
        heard = np.ones((len(x) + 1, x.shape[1]), np.float32)
        self._silu(mixed, heard[:-1])
        return self._product(_with_bias(last), heard)

    def _convolve(self, layer: nn.FrequencyConv, x: Array, scale: Array = _ONE) -> Array:
        """Padded x (F + 2, C) -> (F, C'), to scale: each place with its neighbours is one row."""
        outputs, inputs, kernel = layer.weight.data.shape
        assert kernel == 3, "padding is one row on either side"
        rows = np.ones((len(x) - 2, kernel * inputs + 1), np.float32)
        neighbours = np.lib.stride_tricks.as_strided(x, rows[:, :-1].shape, x.strides)
        self._do(np.copyto, rows[:, :-1], neighbours)
        weight = _weight(layer).transpose(2, 1, 0).reshape(-1, outputs)
        return self._product(rows, scale * np.vstack((weight, _bias(layer))))

    def _product(self, x: Array, y: Array) -> Array:
        made = np.empty((len(x), y.shape[1]), np.float32)
        self._do(np.dot, x, y, made)
        return made

    def _sum(self, x: Array, y: Array) -> Array:
        made = np.empty_like(x)
        self._do(np.add, x, y, made)
        return made

    def _silu(self, half: Array, y: Array) -> None:
        """y = h + h tanh(h)."""
        share = np.empty_like(half)
        self._do(np.tanh, half, share)
        self._do(np.add, share, _ONE, share)
        self._do(np.multiply, half, share, y)

    def _radial_tanh(self) -> None:
        before, self.modulus, share = np.empty((3, len(self.mask)), np.float32)
        self._do(np.abs, self.mask, before)
        self._do(partial(np.maximum, before, _SMALLEST, out=before))
        self._do(np.tanh, before, self.modulus)
        self._do(np.divide, self.modulus, before, share)
        self._do(np.multiply, self.mask, share, self.mask)


def _encoder(level: nn.UNetLevel) -> nn.FrequencyConv:
    assert isinstance(level.encode, nn.Sequential)
    convolution = level.encode.layers[0]
    assert isinstance(convolution, nn.FrequencyConv)
    return convolution


def _padded(layer: nn.FrequencyConv) -> Array:
    """Zeros (64 + 2, C): what a convolution sees, with a place beyond either end."""
    return np.zeros((POSITIONS + 2, layer.weight.data.shape[1]), np.float32)


def _weight(layer: nn.Linear | nn.FrequencyConv | nn.BandMatrix | nn.ChannelBandMatrix) -> Array:
    weight: Array = layer.weight.data.numpy()
    return weight


def _bias(layer: nn.Linear | nn.FrequencyConv) -> Array:
    assert layer.bias is not None, "a folded network has biases everywhere"
    bias: Array = layer.bias.data.numpy()
    return bias


def _with_bias(layer: nn.Linear) -> Array:
    return np.hstack((_weight(layer), _bias(layer)[:, None]))
