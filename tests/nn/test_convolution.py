"""Both convolution layers, readable and fast, against float64 autograd over random shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising import nn
from audio_denoising.nn import convolution
from audio_denoising.nn.fast import tiles
from tests.nn.parity import (
    DTYPES,
    FACTOR,
    KERNELS,
    LAYOUTS,
    assert_parity,
    ladder,
    random_tensor,
    randomise,
)

Pair = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """One convolution: sizes, geometry and memory layouts."""

    shape: tuple[int, int, int, int]  # N, C, F, T
    channels: int
    kernel: Pair
    stride: Pair
    padding: Pair
    output_padding: Pair = (0, 0)
    bias: bool = True
    layouts: tuple[str, str] = ("contiguous", "contiguous")

    def layer(self, of: Any, transposed: bool) -> Any:
        """The layer of one library."""
        kind = of.ConvTranspose2d if transposed else of.Conv2d
        extra = {"output_padding": self.output_padding} if transposed else {}
        geometry = (self.shape[1], self.channels, self.kernel, self.stride, self.padding)
        return kind(*geometry, bias=self.bias, **extra)

    def check(
        self,
        kernels: str,
        dtype: torch.dtype,
        transposed: bool = False,
        factor: float = FACTOR,
    ) -> None:
        """Compares the layer with torch."""
        ours = self.layer(nn, transposed)
        ours.use_kernels(kernels)
        randomise(ours, dtype, seed=5)
        x = random_tensor(self.shape, dtype, seed=sum(self.shape))
        assert_parity(ours, self.layer(torch.nn, transposed), x, self.layouts, factor)


def pairs(low: int, high: int) -> st.SearchStrategy[Pair]:
    """One number for frequency and one for time."""
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def cases(draw: st.DrawFn, transposed: bool = False) -> Case:
    """Any convolution that torch accepts, up to 5x5 kernels and stride 4."""
    kernel, stride, padding = draw(pairs(1, 5)), draw(pairs(1, 4)), draw(pairs(0, 4))
    extra: Pair = (0, 0)
    size = draw(pairs(1, 14))
    if transposed:
        extra = draw(st.tuples(st.integers(0, stride[0] - 1), st.integers(0, stride[1] - 1)))
        # Longer inputs where the padding would cut everything away.
        size = tuple(  # type: ignore[assignment]
            max(n, n + 1 - ((n - 1) * s - 2 * p + k + e))
            for n, s, p, k, e in zip(size, stride, padding, kernel, extra, strict=True)
        )
    else:
        size = tuple(  # type: ignore[assignment]
            max(s, k - 2 * p) for s, k, p in zip(size, kernel, padding, strict=True)
        )
    return Case(
        shape=(draw(st.integers(1, 3)), draw(st.integers(1, 7)), *size),
        channels=draw(st.integers(1, 6)),
        kernel=kernel,
        stride=stride,
        padding=padding,
        output_padding=extra,
        bias=draw(st.booleans()),
        layouts=draw(st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))),
    )


both = pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])


@both
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), values=st.sampled_from([1, 300, 3000, tiles.TILE]))
@ladder
def test_convolution(
    data: st.DataObject, values: int, dtype: torch.dtype, kernels: str, transposed: bool
) -> None:
    """Images of the tests are small and would always be a single tile."""
    case = data.draw(cases(transposed=transposed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", values)
        case.check(kernels, dtype, transposed)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    size=pairs(1, 30),
    batch=st.integers(1, 3),
    channels=pairs(1, 70),
    padding=pairs(0, 3),
    values=st.sampled_from([1, 2000, tiles.TILE]),
)
@ladder
def test_winograd(
    size: Pair, batch: int, channels: Pair, padding: Pair, values: int, dtype: torch.dtype
) -> None:
    """Whatever the shape, also when a chunk is one row of tiles, or a few. There are larger numbers
    in its matrices: its rounding errors were up to 17 times the library's."""
    f, t = (max(s, 3 - 2 * p) for s, p in zip(size, padding, strict=True))
    case = Case((batch, channels[0], f, t), channels[1], (3, 3), (1, 1), padding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", values)
        patch.setattr(convolution, "FEWEST_CHANNELS", 1)
        patch.setattr(convolution, "FEWEST_TILES", 1)
        case.check("fast", dtype, factor=50)
