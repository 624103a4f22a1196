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

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from audio_denoising.dsp.constants import POSITIONS
from audio_denoising.models.causal_weights import Array

SMALLEST = 1e-6  # modulus below which tanh(r) / r is 1, as nn.RadialTanh has it
_ONE, _HALF, _SMALLEST = np.array([[1.0], [0.5], [SMALLEST]], np.float32)


class FrameNetwork:
    """A network that answers the frames of one signal in turn.

    Args:
        weights: by name, as `causal_weights.folded` makes them.

    Attributes:
        features: (64, 12), where the next frame is written before `answer`.
        mask: complex (256,), where the answer is found.
        modulus: (256,), that of the mask.
        states: of the recurrences, (features, bands) each; zero at the beginning of a signal.
    """

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self._weights = weights
        self._operations: list[Callable[[], object]] = []
        self.states: list[Array] = []
        first, last = self._padded("0.encode.0"), self._padded("1")
        self.features = first[1:-1]
        self._add_level("0", first, last[1:-1])
        pairs = self._convolve("1", last)
        self.mask = pairs.reshape(-1).view(np.complex64)
        self._radial_tanh()

    def answer(self) -> None:
        """Makes `mask` for what was written into `features`."""
        for operation in self._operations:
            operation()

    def _do(self, function: Callable[..., object], *operands: object) -> None:
        self._operations.append(partial(function, *operands))

    def _add_level(self, name: str, x: Array, y: Array) -> None:
        """Encoder, what is below, decoder: padded x (64 + 2, C) -> y (64, C')."""
        weight = _HALF * self._weight(f"{name}.decode.0").T
        bias = _HALF * self._bias(f"{name}.decode.0")
        wide = len(bias)
        padded = np.zeros((len(x), wide), np.float32)
        skip = padded[1:-1]
        self._silu(self._convolve(f"{name}.encode.0", x, _HALF), skip)
        below, convolution = f"{name}.inner", f"{name}.decode.2"
        if f"{below}.encode.0.weight" in self._weights:
            joined = np.ones((len(skip), 2 * wide + 1), np.float32)
            self._add_level(below, padded, joined[:, wide:-1])
            matrix = np.vstack((weight, bias))
        else:
            joined, matrix = self._core(below, skip, weight, bias)
        self._do(np.copyto, joined[:, :wide], skip)
        made = self._product(joined, matrix)
        if f"{convolution}.weight" in self._weights:
            between = self._padded(convolution)
            self._silu(made, between[1:-1])
            made = self._convolve(convolution, between, _HALF)
        self._silu(made, y)

    def _core(self, name: str, skip: Array, weight: Array, bias: Array) -> tuple[Array, Array]:
        """All between the innermost encoder and decoder, whose weight is (2 C, C).

        Features of bands lie the other way round here, (features, bands), so that gates and
        candidates are whole rows.

        Returns:
            Two factors: their product is what the decoder's linear layer gives. In front of its
            weight stands no activation, so that layer, the wide one and the way up to 64 positions
            are one matrix: joined (64, C + bands + 1), of which the first C columns are left to be
            filled with `skip`, times matrix (C + bands + 1, C), in which a frame's bands are rows.
        """
        down, narrow = self._weight(f"{name}.0"), self._weight(f"{name}.1")
        coarse = self._product(down, skip)
        narrowed = self._product(narrow, coarse.T)
        x = self._sum(narrowed, np.repeat(self._bias(f"{name}.1")[:, None], len(coarse), 1))
        place = 3  # in the chain; at 2 was a normalisation
        while f"{name}.{place}.inner.1.weight" in self._weights:
            inner = f"{name}.{place}.inner"
            recurrent = f"{inner}.0.weight_ih_l0" in self._weights
            x = self._sum(x, self._recur(inner, x) if recurrent else self._mix(inner, x))
            place += 1
        up, wide = self._weight(f"{name}.{place}"), self._weight(f"{name}.{place + 1}")
        channels = skip.shape[1]
        of_skip, of_wide = weight[:channels], weight[channels:]
        bias = bias + self._bias(f"{name}.{place + 1}") @ of_wide
        joined = np.hstack((skip, up, np.ones_like(skip[:, :1])))
        matrix = np.vstack((of_skip, np.zeros((len(coarse), channels), np.float32), bias))
        self._do(np.dot, x.T, wide.T @ of_wide, matrix[channels:-1])
        return joined, matrix

    def _recur(self, name: str, x: Array) -> Array:
        """linear(gru(x)) for x (features, bands).

        Input and state lie one below the other, so that one product makes the arguments of both
        gates, and what each of the two gives to the candidate.
        """
        of_input, of_state, bias_input, bias_state = (
            self._weights[f"{name}.0.{each}_l0"]
            for each in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        inputs, hidden = len(x), of_state.shape[1]
        both = np.ones((inputs + hidden + 1, x.shape[1]), np.float32)
        state = both[inputs:-1]
        state[:] = 0
        self.states.append(state)
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
        return self._product(self._with_bias(f"{name}.1"), both[inputs:])

    def _mix(self, name: str, x: Array) -> Array:
        """linear(silu(band matrices(linear(x)))) for x (features, bands)."""
        turned = self._product(_HALF * self._weight(f"{name}.0"), x)
        mixed = np.empty_like(turned)
        across = np.ascontiguousarray(self._weight(f"{name}.1").transpose(0, 2, 1))
        self._do(np.matmul, turned[:, None], across, mixed[:, None])
        heard = np.ones((len(x) + 1, x.shape[1]), np.float32)
        self._silu(mixed, heard[:-1])
        return self._product(self._with_bias(f"{name}.3"), heard)

    def _convolve(self, name: str, x: Array, scale: Array = _ONE) -> Array:
        """Padded x (F + 2, C) -> (F, C'), to scale: each place with its neighbours is one row."""
        weight = self._weight(name)
        outputs, inputs, kernel = weight.shape
        assert kernel == 3, "padding is one row on either side"
        rows = np.ones((len(x) - 2, kernel * inputs + 1), np.float32)
        neighbours = np.lib.stride_tricks.as_strided(x, rows[:, :-1].shape, x.strides)
        self._do(np.copyto, rows[:, :-1], neighbours)
        matrix = weight.transpose(2, 1, 0).reshape(-1, outputs)
        return self._product(rows, scale * np.vstack((matrix, self._bias(name))))

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

    def _padded(self, name: str) -> Array:
        """Zeros (64 + 2, C): what a convolution sees, with a place beyond either end."""
        return np.zeros((POSITIONS + 2, self._weight(name).shape[1]), np.float32)

    def _weight(self, name: str) -> Array:
        return self._weights[f"{name}.weight"]

    def _bias(self, name: str) -> Array:
        return self._weights[f"{name}.bias"]

    def _with_bias(self, name: str) -> Array:
        return np.hstack((self._weight(name), self._bias(name)[:, None]))
