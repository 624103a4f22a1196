"""Activations, pooling, containers and losses, against float64 autograd over random shapes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising import models, nn
from audio_denoising.models.unet_torch import Mask as TorchMask
from audio_denoising.models.unet_torch import UNetLevel as TorchUNetLevel
from tests.nn.parity import (
    DTYPES,
    EXACT,
    FACTOR,
    FLOOR,
    KERNELS,
    LAYOUTS,
    assert_parity,
    kept_tensors,
    ladder,
    random_tensor,
    randomise,
    relative_error,
)

shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 12), st.integers(1, 12))
layouts = st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))

ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], Callable[[], torch.nn.Module]]] = {
    "ReLU": (nn.ReLU, torch.nn.ReLU),
    "LeakyReLU": (nn.LeakyReLU, torch.nn.LeakyReLU),
    "LeakyReLU 0.2": (lambda: nn.LeakyReLU(0.2), lambda: torch.nn.LeakyReLU(0.2)),
    "Sigmoid": (nn.Sigmoid, torch.nn.Sigmoid),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
@given(shape=shapes, layouts=layouts)
@ladder
def test_activation(
    name: str, shape: tuple[int, ...], layouts: tuple[str, str], dtype: torch.dtype
) -> None:
    ours, theirs = ACTIVATIONS[name]
    assert_parity(ours(), theirs(), 3 * random_tensor(shape, dtype, 1), layouts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_at_its_extremes(name: str, dtype: torch.dtype) -> None:
    """The kink at zero takes torch's side of it, and nothing overflows far away from it."""
    ours, theirs = ACTIVATIONS[name]
    x = torch.tensor([0.0, -0.0, 80.0, -80.0, 1e30, -1e30], dtype=dtype)
    assert_parity(ours(), theirs(), x.view(1, 1, 2, 3))


@pytest.mark.parametrize("slope", [2.0, -0.5, float("nan")])
def test_a_slope_that_hides_the_sign_of_the_input_is_refused(slope: float) -> None:
    with pytest.raises(ValueError, match=rf"lies in \[0, 1\], and {slope} does not"):
        nn.LeakyReLU(slope)


@pytest.mark.parametrize(
    ("first", "theirs", "overwrites"),
    [
        (nn.Conv2d(2, 2, 1), torch.nn.Conv2d(2, 2, 1), True),
        (nn.MaxPool2d(1), torch.nn.MaxPool2d(1), True),
        (nn.Sigmoid(), torch.nn.Sigmoid(), False),  # keeps what it puts out
        (nn.ReLU(), torch.nn.ReLU(), False),
        (nn.Sequential(), torch.nn.Identity(), False),  # puts out what it is given
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_chain_overwrites_only_what_nobody_else_knows(
    first: nn.Module, theirs: torch.nn.Module, overwrites: bool
) -> None:
    chain = nn.Sequential(first, nn.LeakyReLU(0.2))
    x = random_tensor((1, 2, 3, 4), torch.float64, 1)
    assert_parity(chain.to(dtype=x.dtype), torch.nn.Sequential(theirs, torch.nn.LeakyReLU(0.2)), x)
    forward, given = first.forward, torch.empty(0)

    def remember(x: torch.Tensor) -> torch.Tensor:
        nonlocal given
        given = forward(x)
        return given

    first.forward = remember  # type: ignore[method-assign]
    assert (chain(x).data_ptr() == given.data_ptr()) == overwrites


@st.composite
def pools(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, int], tuple[int, int] | None]:
    """Shape, kernel and stride (None: the kernel) of a pooling that fits."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.none() | st.tuples(st.integers(1, 5), st.integers(1, 5)))
    n, c, f, t = draw(shapes)
    return (n, c, max(f, kernel[0]), max(t, kernel[1])), kernel, stride


@pytest.mark.parametrize("dtype", DTYPES)
@given(case=pools(), layouts=layouts, ties=st.booleans())
@ladder
def test_max_pool(
    case: tuple[tuple[int, ...], tuple[int, int], tuple[int, int] | None],
    layouts: tuple[str, str],
    ties: bool,
    dtype: torch.dtype,
) -> None:
    shape, kernel, stride = case
    x = random_tensor(shape, dtype, 1)
    if ties:  # whole numbers, most of them equal: the first of equals gets the gradient
        x = x.round()
    ours, theirs = nn.MaxPool2d(kernel, stride), torch.nn.MaxPool2d(kernel, stride)
    assert_parity(ours, theirs, x, layouts)
    assert torch.equal(ours.eval()(x), ours.train()(x))


@pytest.mark.parametrize("kernel", [16, 17])
def test_a_window_of_more_places_than_a_byte_can_number(kernel: int) -> None:
    x = random_tensor((1, 2, 2 * kernel, kernel), torch.float64, 1)
    assert_parity(nn.MaxPool2d(kernel), torch.nn.MaxPool2d(kernel), x)


@pytest.mark.parametrize(
    ("layer", "shape", "told"),
    [
        (nn.Conv2d(2, 3, 3), (2, 8, 8), r"Conv2d takes images \(N, 2, F, T\) and got \(2, 8, 8\)"),
        (nn.Conv2d(2, 3, 3), (1, 3, 8, 8), r"Conv2d takes images \(N, 2, F, T\)"),
        (nn.ConvTranspose2d(2, 3, 3), (1, 3, 8, 8), r"ConvTranspose2d takes images \(N, 2, F, T\)"),
        (nn.MaxPool2d(2), (2, 8, 8), r"MaxPool2d takes images \(N, C, F, T\) and got \(2, 8, 8\)"),
        (nn.Mask(nn.MaxPool2d(2)), (1, 1, 2, 2), r"Mask needs \(1, 1, 2, 2\) from inside and got"),
        (nn.Residual(nn.Conv2d(2, 1, 1)), (1, 2, 3, 3), r"Residual needs \(1, 2, 3, 3\) from"),
        (models.build("v4", "small"), (1, 1, 250, 256), r"UNetLevel cannot join .* must be even"),
        (models.build("v2", "small"), (256, 256), r"Conv2d takes images \(N, 1, F, T\)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_wrong_shape_gets_one_sentence_that_names_the_layer(
    layer: nn.Module, shape: tuple[int, ...], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        layer(torch.zeros(shape))


def test_max_pool_refuses_an_image_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match="a 2x2 kernel does not fit a 1x4 image"):
        nn.MaxPool2d(2)(torch.zeros(1, 1, 1, 4))


def a_layer_of_each_kind() -> list[nn.Module]:
    """One of each, from four channels to four."""
    return [
        nn.Conv2d(4, 4, 3, 1, 1),
        nn.ConvTranspose2d(4, 4, 3, 2, 1, 1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.LeakyReLU(0.2),
        nn.Sigmoid(),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()),
        nn.UNetLevel(nn.Conv2d(4, 3, 1), nn.Sigmoid(), nn.Conv2d(6, 4, 1)),
        nn.Mask(nn.Conv2d(4, 4, 1)),
    ]


def test_nothing_that_two_read_is_overwritten() -> None:
    """A rectifier as the first or last layer of what sits beside a skip or under a mask."""
    ours_of = {"LeakyReLU": nn.LeakyReLU, "Sequential": nn.Sequential, "Conv2d": nn.Conv2d}
    theirs_of = {name: getattr(torch.nn, name) for name in ours_of}

    def nets(of: dict[str, Any], level: Any, mask: Any) -> list[Any]:
        act, chain, conv = of["LeakyReLU"], of["Sequential"], of["Conv2d"]
        return [
            mask(chain(act(0.2), conv(2, 2, 1))),
            mask(act(0.2)),
            level(conv(2, 2, 1), act(0.2), conv(4, 2, 1)),
            level(conv(2, 2, 1), chain(act(0.2), conv(2, 2, 1), act(0.2)), act(0.3)),
            level(act(0.2), level(act(0.1), act(0.3), conv(4, 2, 1)), chain(act(0.2))),
        ]

    x = random_tensor((2, 2, 3, 4), torch.float64, 1)
    pairs = zip(
        nets(ours_of, nn.UNetLevel, nn.Mask),
        nets(theirs_of, TorchUNetLevel, TorchMask),
        strict=True,
    )
    for ours, theirs in pairs:
        randomise(ours, torch.float64, seed=4)
        assert_parity(ours, theirs, x)


ROWS = (5, 2, 6, 4)  # (T, N, F, C)
OF_ROWS = [
    nn.Linear(4, 4),
    nn.BandMatrix(6, 6),
    nn.ChannelBandMatrix(4, 6, 6),
    nn.FrequencyConv(4, 4),
    nn.BatchNorm(4),
    nn.BatchNormSiLU(4),
    nn.GRU(4, 4),
    nn.SiLU(),
    nn.RadialTanh(),
    nn.Residual(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm(4))),
    nn.UNetLevel(nn.BatchNorm(4), nn.BatchNorm(4), nn.BatchNormSiLU(8), -1),
    nn.Sequential(nn.BatchNorm(4), nn.SiLU()),
]


@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [*((layer, (2, 4, 6, 4)) for layer in a_layer_of_each_kind()), *((r, ROWS) for r in OF_ROWS)],
    ids=lambda value: type(value).__name__,
)
def test_no_layer_overwrites_what_it_is_given_or_lends_what_it_keeps(
    layer: nn.Module, shape: tuple[int, ...], mode: str
) -> None:
    def kept() -> set[int]:
        held = [value for m in layer.modules() for value in vars(m).values()]
        held += [each for value in held if isinstance(value, tuple) for each in value]
        return {v.untyped_storage().data_ptr() for v in held if isinstance(v, torch.Tensor)}

    layer.train(mode == "training")
    x = random_tensor(shape, torch.float32, 1)
    before = x.clone()
    y = layer(x)
    assert torch.equal(x, before) and x.data_ptr() != y.data_ptr()
    if layer.fresh_output:
        assert y.untyped_storage().data_ptr() not in kept()
    if mode == "training":
        gradient = random_tensor(tuple(y.shape), torch.float32, 2)
        before = gradient.clone()
        back = layer.backward(gradient)
        assert torch.equal(gradient, before) and back.data_ptr() != gradient.data_ptr()
        assert torch.equal(layer.overwrite(x.clone()), y)
        torch.testing.assert_close(layer.overwrite_gradient(gradient), back)


@pytest.mark.parametrize("layer", a_layer_of_each_kind(), ids=lambda layer: type(layer).__name__)
def test_evaluation_keeps_nothing_and_training_lets_go_after_backward(layer: nn.Module) -> None:
    x = random_tensor((2, 4, 6, 4), torch.float32, 1)
    evaluated = layer.eval()(x.clone())
    assert kept_tensors(layer) == []
    trained = layer.train()(x.clone())
    assert torch.equal(evaluated, trained)
    assert kept_tensors(layer) != []
    layer.backward(torch.ones_like(trained))
    assert kept_tensors(layer) == []
    with pytest.raises(AssertionError):
        layer.backward(torch.ones_like(trained))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sequential(dtype: torch.dtype, kernels: str) -> None:
    ours = nn.Sequential(
        nn.Conv2d(2, 6, 3, 2, 1, kernels=kernels),
        nn.Sigmoid(),
        nn.ConvTranspose2d(6, 3, 2, 2, kernels=kernels),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
    )
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3, 2, 1),
        torch.nn.Sigmoid(),
        torch.nn.ConvTranspose2d(6, 3, 2, 2),
        torch.nn.LeakyReLU(0.1),
        torch.nn.MaxPool2d(2),
    )
    randomise(ours, dtype, seed=3)
    assert_parity(ours, theirs, random_tensor((2, 2, 9, 14), dtype, 1))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    channels=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
)
@ladder
def test_two_nested_unet_levels(
    batch: int,
    size: tuple[int, int],
    channels: tuple[int, int, int],
    dtype: torch.dtype,
    kernels: str,
) -> None:
    """Smooth activations here: a sum that rounding takes across a kink would be no error."""
    outer, inner, below = channels

    def ours() -> nn.Module:
        conv = partial(nn.Conv2d, kernels=kernels)
        up = partial(nn.ConvTranspose2d, kernels=kernels)
        deep = nn.UNetLevel(
            nn.Sequential(conv(outer, inner, 3, 2, 1), nn.Sigmoid()),
            nn.Sequential(conv(inner, below, 3, 2, 1), nn.Sigmoid(), up(below, inner, 2, 2)),
            conv(2 * inner, inner, 3, 1, 1),
        )
        return nn.UNetLevel(
            nn.Sequential(conv(2, outer, 3, 2, 1), nn.Sigmoid()),
            nn.Sequential(deep, up(inner, below, 3, 2, 1, 1)),
            conv(outer + below, 3, 1),
        )

    def theirs() -> torch.nn.Module:
        t = torch.nn
        deep = TorchUNetLevel(
            t.Sequential(t.Conv2d(outer, inner, 3, 2, 1), t.Sigmoid()),
            t.Sequential(
                t.Conv2d(inner, below, 3, 2, 1),
                t.Sigmoid(),
                t.ConvTranspose2d(below, inner, 2, 2),
            ),
            t.Conv2d(2 * inner, inner, 3, 1, 1),
        )
        return TorchUNetLevel(
            t.Sequential(t.Conv2d(2, outer, 3, 2, 1), t.Sigmoid()),
            t.Sequential(deep, t.ConvTranspose2d(inner, below, 3, 2, 1, 1)),
            t.Conv2d(outer + below, 3, 1),
        )

    network = ours()
    randomise(network, dtype, seed=4)
    x = random_tensor((batch, 2, 8 * size[0], 8 * size[1]), dtype, 1)
    assert_parity(network, theirs(), x)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(shape=shapes, layouts=layouts, inside=st.integers(1, 6))
@ladder
def test_mask(
    shape: tuple[int, int, int, int],
    layouts: tuple[str, str],
    inside: int,
    dtype: torch.dtype,
    kernels: str,
) -> None:
    channels = shape[1]
    ours = nn.Mask(
        nn.Sequential(
            nn.Conv2d(channels, inside, 3, 1, 1, kernels=kernels),
            nn.Sigmoid(),
            nn.Conv2d(inside, channels, 1, kernels=kernels),
            nn.Sigmoid(),
        )
    )
    theirs = TorchMask(
        torch.nn.Sequential(
            torch.nn.Conv2d(channels, inside, 3, 1, 1),
            torch.nn.Sigmoid(),
            torch.nn.Conv2d(inside, channels, 1),
            torch.nn.Sigmoid(),
        )
    )
    randomise(ours, dtype, seed=3)
    assert_parity(ours, theirs, random_tensor(shape, dtype, 1), layouts)


def test_mask_of_a_network_without_a_gradient_at_its_input() -> None:
    mask = nn.Mask(nn.Conv2d(2, 2, 1, input_gradient=False))
    y = mask(random_tensor((1, 2, 3, 4), torch.float32, 1))
    assert mask.backward(torch.ones_like(y)).numel() == 0


LOSSES = {
    "MSE": (nn.MSELoss, torch.nn.functional.mse_loss),
    "L1": (nn.L1Loss, torch.nn.functional.l1_loss),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
@given(shape=shapes, layouts=layouts)
@ladder
def test_loss(
    name: str, shape: tuple[int, ...], layouts: tuple[str, str], dtype: torch.dtype
) -> None:
    ours, theirs = LOSSES[name]
    prediction, target = (random_tensor(shape, dtype, i, layouts[i]) for i in (0, 1))
    kept = prediction.clone(), target.clone()
    expected_at = prediction.double().clone().requires_grad_()
    expected = theirs(expected_at, target.double())
    expected.backward()
    assert expected_at.grad is not None
    with torch.inference_mode():
        loss = ours()
        value = loss(prediction, target)
        gradient = loss.backward()
    assert value.shape == ()
    assert value.dtype == gradient.dtype == dtype
    allowed = {torch.float64: EXACT, torch.float32: FLOOR}[dtype]
    own = relative_error(theirs(prediction, target), expected)  # a sum, in the library's order
    assert relative_error(value, expected) < max(allowed, FACTOR * own if own > EXACT else 0)
    assert relative_error(gradient, expected_at.grad) < allowed  # no sum: as exact as its type
    assert torch.equal(prediction, kept[0]) and torch.equal(target, kept[1])


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_a_perfect_prediction_is_flat(name: str) -> None:
    loss = LOSSES[name][0]()
    image = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    assert float(loss(image, image)) == 0.0
    assert torch.equal(loss.backward(), torch.zeros_like(image))
    with pytest.raises(AssertionError, match="needs a forward pass"):
        loss.backward()


@pytest.mark.parametrize("name", LOSSES)
def test_loss_refuses_shapes_that_would_broadcast(name: str) -> None:
    with pytest.raises(ValueError, match=r"prediction \(2, 1\) and target \(2, 3\) differ"):
        LOSSES[name][0]()(torch.zeros(2, 1), torch.zeros(2, 3))
