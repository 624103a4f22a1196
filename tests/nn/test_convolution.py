"""Both convolution layers with both kernels, against float64 autograd over random shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising import nn
from audio_denoising.nn import row_lowering, tiles, winograd
from audio_denoising.nn.geometry import output_size, transposed_size
from audio_denoising.nn.winograd_basis import FOUR, TWO, Basis
from tests.nn.parity import (
    DTYPES,
    FACTOR,
    KERNELS,
    LAYOUTS,
    assert_parity,
    kept_tensors,
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

    def arguments(self, transposed: bool) -> dict[str, object]:
        """What our layer and torch's have in common."""
        extra = {"output_padding": self.output_padding} if transposed else {}
        return {"stride": self.stride, "padding": self.padding, "bias": self.bias, **extra}

    def ours(
        self, kernels: str | ModuleType, dtype: torch.dtype, transposed: bool
    ) -> nn.Conv2d | nn.ConvTranspose2d:
        """Our layer with random parameters. `kernels` is a name, or a module to be forced on it."""
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        arguments = self.arguments(transposed)
        layer = kind(self.shape[1], self.channels, self.kernel, **arguments)  # type: ignore[arg-type]
        if isinstance(kernels, str):
            layer.use_kernels(kernels)
        else:
            layer.operations = kernels
        randomise(layer, dtype, seed=5)
        return layer

    def check(
        self,
        kernels: str | ModuleType,
        dtype: torch.dtype,
        transposed: bool = False,
        factor: float = FACTOR,
    ) -> None:
        """Compares the layer with torch."""
        kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
        arguments = self.arguments(transposed)
        theirs = kind(self.shape[1], self.channels, self.kernel, **arguments)  # type: ignore[arg-type]
        x = random_tensor(self.shape, dtype, seed=sum(self.shape))
        assert_parity(self.ours(kernels, dtype, transposed), theirs, x, self.layouts, factor)


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
        empty = transposed_size(size, kernel, stride, padding, extra)
        # Longer inputs where the padding would cut everything away.
        size = tuple(s + max(0, 1 - e) for s, e in zip(size, empty, strict=True))  # type: ignore[assignment]
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


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases())
@ladder
def test_convolution(case: Case, dtype: torch.dtype, kernels: str) -> None:
    case.check(kernels, dtype)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases(transposed=True))
@ladder
def test_transposed_convolution(case: Case, dtype: torch.dtype, kernels: str) -> None:
    case.check(kernels, dtype, transposed=True)


# "fast" picks one of these by the layer's shape; here each is tried on small and odd shapes too.
FAST = {m.__name__.rsplit(".", 1)[1]: m for m in (row_lowering, winograd)}


@pytest.mark.parametrize("module", FAST)
@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases())
@ladder
def test_each_fast_way_whatever_the_shape(case: Case, dtype: torch.dtype, module: str) -> None:
    if module == "winograd":
        n, c, *size = case.shape
        f, t = (max(s, 3 - 2 * p) for s, p in zip(size, case.padding, strict=True))
        case = replace(case, kernel=(3, 3), stride=(1, 1), shape=(n, c, f, t))
    case.check(FAST[module], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("basis", [TWO, FOUR], ids=["F(2, 3)", "F(4, 3)"])
@given(
    size=pairs(3, 30),
    batch=st.integers(1, 3),
    channels=pairs(1, 70),
    padding=pairs(0, 3),
    values=st.sampled_from([1, 2000, tiles.TILE]),
)
@ladder
def test_winograd_in_both_bases(
    size: Pair,
    batch: int,
    channels: Pair,
    padding: Pair,
    values: int,
    basis: Basis,
    dtype: torch.dtype,
) -> None:
    """Also when a chunk is one row of tiles, or a few. F(4, 3) has larger numbers in its matrices:
    its rounding errors were up to 17 times the library's, those of F(2, 3) up to 6 times."""
    case = Case((batch, channels[0], *size), channels[1], (3, 3), (1, 1), padding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "FEWEST_TILES", 1 if basis is FOUR else 1 << 30)
        patch.setattr(tiles, "TILE", values)
        patch.setattr(winograd, "LARGEST_KERNEL", 20_000)  # output channels in pieces, too
        case.check(winograd, dtype, factor=50 if basis is FOUR else 20)


CHANNELS_LAST = ("channels last", "channels last")

# What the U-Net uses, in sizes large enough for buffers of the pool in nn/memory.py.
UNET_CASES = {
    "first": Case((2, 1, 96, 64), 16, (3, 3), (1, 1), (1, 1)),
    "double": Case((2, 16, 64, 72), 16, (3, 3), (1, 1), (1, 1), layouts=CHANNELS_LAST),
    "down": Case((2, 16, 64, 72), 16, (3, 3), (2, 2), (1, 1), layouts=CHANNELS_LAST),
    "odd down": Case((1, 16, 33, 47), 24, (3, 3), (2, 2), (1, 1)),
    "last": Case((2, 16, 64, 72), 1, (1, 1), (1, 1), (0, 0), layouts=CHANNELS_LAST),
    "deep": Case((2, 128, 12, 10), 64, (3, 3), (1, 1), (1, 1), layouts=CHANNELS_LAST),
    "bottleneck": Case((2, 128, 3, 2), 128, (3, 3), (1, 1), (1, 1)),
}
UNET_TRANSPOSED_CASES = {
    "up 2x2": Case((2, 32, 32, 36), 16, (2, 2), (2, 2), (0, 0), layouts=CHANNELS_LAST),
    "up 3x3": Case((2, 32, 32, 36), 16, (3, 3), (2, 2), (1, 1), (1, 1), layouts=CHANNELS_LAST),
    "one pixel": Case((1, 8, 1, 1), 4, (2, 2), (2, 2), (0, 0)),
    "one channel": Case((3, 1, 5, 9), 1, (3, 3), (2, 2), (1, 1), (1, 1)),
}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNET_CASES)
def test_convolutions_of_the_unet(name: str, dtype: torch.dtype, kernels: str) -> None:
    UNET_CASES[name].check(kernels, dtype)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNET_TRANSPOSED_CASES)
def test_transposed_convolutions_of_the_unet(name: str, dtype: torch.dtype, kernels: str) -> None:
    UNET_TRANSPOSED_CASES[name].check(kernels, dtype, transposed=True)


both = pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])


@both
@pytest.mark.parametrize("values", [1, 300, 3000])
@given(data=st.data())
@ladder
def test_tiles_of_a_few_rows(data: st.DataObject, values: int, transposed: bool) -> None:
    """Images of the tests are small and would be a single tile."""
    case = data.draw(cases(transposed=transposed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", values)
        case.check("fast", torch.float64, transposed)
        if not transposed:
            case.check(row_lowering, torch.float64)


SOME = Case((2, 5, 7, 6), 3, (3, 2), (2, 1), (1, 1))


@both
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_input_and_gradient_are_left_as_they_were(
    layout: str, kernels: str, transposed: bool
) -> None:
    layer = SOME.ours(kernels, torch.float32, transposed)
    x = random_tensor(SOME.shape, torch.float32, 1, layout)
    before = x.clone()
    y = layer(x)
    grad = random_tensor(tuple(y.shape), torch.float32, 2, layout)
    grad_before = grad.clone()
    layer.backward(grad)
    assert torch.equal(x, before)
    assert torch.equal(grad, grad_before)


@both
@pytest.mark.parametrize("kernels", KERNELS)
def test_gradients_add_up_over_backward_passes(kernels: str, transposed: bool) -> None:
    layer = SOME.ours(kernels, torch.float64, transposed)
    once = []
    for seed in (1, 2):
        layer.zero_grad()
        layer.backward(torch.ones_like(layer(random_tensor(SOME.shape, torch.float64, seed))))
        once.append([p.grad.clone() for p in layer.parameters()])
    layer.zero_grad()
    for seed in (1, 2):
        layer.backward(torch.ones_like(layer(random_tensor(SOME.shape, torch.float64, seed))))
    for parameter, first, second in zip(layer.parameters(), *once, strict=True):
        torch.testing.assert_close(parameter.grad, first + second, rtol=1e-12, atol=1e-12)


@both
@pytest.mark.parametrize("kernels", KERNELS)
def test_what_is_kept(kernels: str, transposed: bool) -> None:
    layer = SOME.ours(kernels, torch.float32, transposed)
    x = random_tensor(SOME.shape, torch.float32, 1)
    y = layer.eval()(x)
    assert kept_tensors(layer) == []
    with pytest.raises(AssertionError, match="forward pass in training mode"):
        layer.backward(torch.ones_like(y))
    assert torch.equal(layer.train()(x), y)
    assert len(kept_tensors(layer)) == 1  # the input, not the columns
    layer.backward(torch.ones_like(y))
    assert kept_tensors(layer) == []


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_first_layer_may_leave_out_the_gradient_nobody_reads(kernels: str) -> None:
    layers = [
        nn.Conv2d(2, 3, 3, padding=1, input_gradient=wanted, kernels=kernels)
        for wanted in (True, False)
    ]
    layers[1].load_state_dict(layers[0].state_dict())
    x = random_tensor((2, 2, 5, 4), torch.float32, 1)
    grads = [layer.backward(torch.ones_like(layer(x))) for layer in layers]
    assert grads[0].shape == x.shape
    assert grads[1].numel() == 0
    assert torch.equal(layers[0].weight.grad, layers[1].weight.grad)


def test_one_number_means_both_axes() -> None:
    x = random_tensor((1, 2, 8, 9), torch.float32, 1)
    short, long = nn.Conv2d(2, 3, 3, 2, 1), nn.Conv2d(2, 3, (3, 3), (2, 2), (1, 1))
    long.load_state_dict(short.state_dict())
    assert torch.equal(short(x), long(x))


@pytest.mark.parametrize("kernels", KERNELS)
def test_sizes_that_do_not_fit_are_refused(kernels: str) -> None:
    with pytest.raises(ValueError, match="a 5x5 kernel does not fit a 2x9 image padded by 1x0"):
        nn.Conv2d(1, 1, 5, padding=(1, 0), kernels=kernels)(torch.zeros(1, 1, 2, 9))
    with pytest.raises(ValueError, match="smaller than the stride"):
        nn.ConvTranspose2d(1, 1, 3, stride=2, output_padding=(1, 2), kernels=kernels)
    with pytest.raises(ValueError, match="unknown kernels 'fastest': choose fast or reference"):
        nn.Conv2d(1, 1, 3, kernels="fastest")


@given(size=pairs(1, 30), kernel=pairs(1, 5), stride=pairs(1, 4), padding=pairs(0, 2))
@ladder
def test_transposed_size_undoes_output_size(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair
) -> None:
    if any(s + 2 * p < k for s, p, k in zip(size, padding, kernel, strict=True)):
        with pytest.raises(ValueError, match="does not fit"):
            output_size(size, kernel, stride, padding)
        return
    out = output_size(size, kernel, stride, padding)
    lost = tuple(
        (s + 2 * p - k) % step for s, p, k, step in zip(size, padding, kernel, stride, strict=True)
    )
    assert transposed_size(out, kernel, stride, padding, (lost[0], lost[1])) == size
