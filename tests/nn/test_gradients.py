"""The gradient ladder, once for all layers: against float64 autograd over random shapes, in
float32, against finite differences; and a fault that is planted is found on every rung."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_denoising import models, nn
from audio_denoising.models.twin import LAYERS as TORCH
from audio_denoising.nn import gradient_check
from tests.nn.parity import (
    DTYPES,
    EXACT,
    FACTOR,
    FLOOR,
    LAYOUTS,
    Slipping,
    assert_parity,
    kept_tensors,
    ladder,
    random_tensor,
    randomise,
    relative_error,
)

# From the layers of one library, channels C, bands F, outputs C' (or F') and a kernel.
Make = Callable[[Any, int, int, int, int], Any]

IMAGES: dict[str, Make] = {  # (N, C, F, T), F and T even
    "Conv2d": lambda of, c, f, o, k: of.Conv2d(c, o, k, 1, k // 2),
    "ConvTranspose2d 3x3": lambda of, c, f, o, k: of.ConvTranspose2d(c, o, 3, 2, 1, 1),
    "MaxPool2d": lambda of, c, f, o, k: of.MaxPool2d(2),
    "ReLU": lambda of, c, f, o, k: of.ReLU(),
    "LeakyReLU": lambda of, c, f, o, k: of.LeakyReLU(0.2),
    "Sigmoid": lambda of, c, f, o, k: of.Sigmoid(),
    "Sequential": lambda of, c, f, o, k: of.Sequential(
        of.Conv2d(c, o, 3, 2, 1), of.Sigmoid(), of.ConvTranspose2d(o, c, 2, 2), of.LeakyReLU(0.1)
    ),
    "UNetLevel": lambda of, c, f, o, k: of.UNetLevel(
        of.Sequential(of.Conv2d(c, o, 3, 1, 1), of.Sigmoid()),
        of.Sequential(of.Conv2d(o, c, 3, 2, 1), of.Sigmoid(), of.ConvTranspose2d(c, k, 2, 2)),
        of.Conv2d(o + k, o, 3, 1, 1),
    ),
    "two levels": lambda of, c, f, o, k: of.UNetLevel(
        of.Conv2d(c, o, 1),
        of.UNetLevel(of.Conv2d(o, k, 1), of.Sigmoid(), of.Conv2d(2 * k, c, 1)),
        of.Conv2d(o + c, o, 1),
    ),
    "Mask": lambda of, c, f, o, k: of.Mask(of.Sequential(of.Conv2d(c, c, 3, 1, 1), of.Sigmoid())),
}
ROWS: dict[str, Make] = {  # (T, N, F, C)
    "Linear": lambda of, c, f, o, k: of.Linear(c, o),
    "Linear without bias": lambda of, c, f, o, k: of.Linear(c, o, False),
    "BandMatrix": lambda of, c, f, o, k: of.BandMatrix(f, o),
    "ChannelBandMatrix": lambda of, c, f, o, k: of.ChannelBandMatrix(c, f, o),
    "FrequencyConv": lambda of, c, f, o, k: of.FrequencyConv(c, o, k, True),
    "FrequencyConv without bias": lambda of, c, f, o, k: of.FrequencyConv(c, o, k, False),
    "BatchNorm": lambda of, c, f, o, k: of.BatchNorm(c),
    "BatchNorm without bias": lambda of, c, f, o, k: of.BatchNorm(c, False),
    "BatchNormSiLU": lambda of, c, f, o, k: of.BatchNormSiLU(c),
    "GRU": lambda of, c, f, o, k: of.GRU(c, o),
    "SiLU": lambda of, c, f, o, k: of.SiLU(),
    "RadialTanh": lambda of, c, f, o, k: of.Sequential(of.Linear(c, 2 * o), of.RadialTanh()),
    "Residual": lambda of, c, f, o, k: of.Residual(
        of.Sequential(of.Linear(c, o), of.SiLU(), of.Linear(o, c, False), of.BatchNorm(c))
    ),
    "UNetLevel of rows": lambda of, c, f, o, k: of.UNetLevel(
        of.Sequential(of.FrequencyConv(c, o, k, False), of.BatchNormSiLU(o)),
        of.Residual(of.Sequential(of.GRU(o, o), of.ChannelBandMatrix(o, f, f))),
        of.Sequential(of.Linear(2 * o, c, False), of.BatchNormSiLU(c)),
        -1,
    ),
}
layers = pytest.mark.parametrize("name", [*IMAGES, *ROWS])


def pair(name: str, shape: tuple[int, ...], o: int = 3, k: int = 3) -> tuple[nn.Module, Any]:
    """Our layer, with float64 parameters drawn at random, and its twin, for x of a shape."""
    c, f = (shape[1], shape[2]) if name in IMAGES else (shape[3], shape[2])
    make = IMAGES.get(name) or ROWS[name]
    ours = make(nn, c, f, o, k)
    randomise(ours, torch.float64, seed=5)
    return ours, make(TORCH, c, f, o, k)


@layers
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
    outputs=st.integers(1, 5),
    kernel=st.sampled_from([1, 3, 5]),
    layouts=st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS)),
)
@settings(ladder, max_examples=20)
def test_against_autograd(
    name: str, sizes: tuple[int, ...], outputs: int, kernel: int, layouts: tuple[str, str]
) -> None:
    a, b, c, d = sizes
    shape = (a, b, 2 * c, 2 * d) if name in IMAGES else (a + 1, b, c, d)
    ours, theirs = pair(name, shape, outputs, kernel)
    assert_parity(ours, theirs, random_tensor(shape, torch.float64, 1), layouts)


@layers
def test_in_float32(name: str) -> None:
    """Long enough to be computed in several blocks and tiles."""
    shape = (2, 12, 48, 64) if name in IMAGES else (60, 12, 21, 12)
    ours, theirs = pair(name, shape, 12)
    assert_parity(ours.to(dtype=torch.float32), theirs, random_tensor(shape, torch.float32, 1))


@layers
def test_against_finite_differences(name: str) -> None:
    shape = (2, 3, 8, 4) if name in IMAGES else (4, 2, 5, 4)
    layer, _ = pair(name, shape)
    state = layer.state_dict()
    with torch.inference_mode():
        found = gradient_check(layer, random_tensor(shape, torch.float64, 8), entries=40)
    assert found.keys() == {"input", *(n for n, _ in layer.named_parameters())}
    assert max(found.values()) < 1e-7, found
    assert all(torch.equal(value, state[key]) for key, value in layer.state_dict().items())


@layers
def test_what_is_kept_and_what_may_be_overwritten(name: str) -> None:
    shape = (2, 4, 6, 4) if name in IMAGES else (4, 2, 5, 4)
    layer, _ = pair(name, shape)
    x = random_tensor(shape, torch.float64, 1)

    def kept() -> list[str]:
        return [where for where in kept_tensors(layer) if where != "GRU.last_state"]

    expected = layer.eval()(x)
    assert kept() == []
    torch.testing.assert_close(layer.overwrite(x.clone()), expected)
    y = layer.train()(x)
    assert kept() != []
    gradient = random_tensor(tuple(y.shape), torch.float64, 2)
    back = layer.backward(gradient)
    assert kept() == []
    with pytest.raises(AssertionError, match="backward needs a forward pass in training mode"):
        layer.backward(gradient)
    layer.overwrite(x.clone())
    torch.testing.assert_close(layer.overwrite_gradient(gradient.clone()), back)


@pytest.mark.parametrize("name", ROWS)
def test_nothing_at_all_passes_in_evaluation_mode(name: str) -> None:
    """A stream may have no frame to give yet."""
    layer, _ = pair(name, (4, 2, 5, 4))
    none, some = (random_tensor((n, 2, 5, 4), torch.float64, 1) for n in (0, 1))
    assert layer.eval()(none).shape == (0, *layer(some).shape[1:])


# A planted fault is found


@pytest.mark.parametrize("slip", ["output", "input gradient", "weight gradient"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [3, 64], ids=["rows", "Winograd"])
def test_what_is_wrong_is_found_by_the_twin(channels: int, dtype: torch.dtype, slip: str) -> None:
    layer = Slipping(channels, channels, 3, padding=1)
    twin = torch.nn.Conv2d(channels, channels, 3, padding=1)
    randomise(layer, dtype, seed=1)
    x = random_tensor((4, channels, 9, 12), dtype, 2)
    assert_parity(layer, twin, x, factor=20)
    layer.slip = slip
    with pytest.raises(AssertionError, match=f"'({slip}|all gradients)"):
        assert_parity(layer, twin, x, factor=20)


def test_what_is_wrong_is_found_by_finite_differences() -> None:
    layer, x = Slipping(3, 3, 3, padding=1), random_tensor((1, 3, 4, 5), torch.float64, 1)
    randomise(layer, torch.float64, seed=1)
    assert max(gradient_check(layer, x).values()) < 1e-8
    for name in ("weight", "input"):
        layer.slip = f"{name} gradient"
        wrong = gradient_check(layer, x)
        assert wrong.pop(name) == pytest.approx(1e-5, rel=1e-2) and max(wrong.values()) < 1e-8
    for name in ("forward", "backward"):
        layer = Slipping(3, 3, 3, padding=1).to(dtype=torch.float64)
        honest = getattr(layer, name)
        setattr(layer, name, lambda given, honest=honest: honest(given.mul_(2)))
        with pytest.raises(ValueError, match="overwrites a tensor that it is given"):
            gradient_check(layer, x)


def test_finite_differences_leave_module_and_input_alone() -> None:
    layer = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).to(dtype=torch.float64).eval()
    x = random_tensor((1, 1, 4, 5), torch.float64, 1)
    before = x.clone()
    first = gradient_check(layer, x, entries=4)
    assert gradient_check(layer, x, entries=4) == first
    assert not layer.training and torch.equal(x, before)
    assert not any(parameter.grad.any() for parameter in layer.parameters())
    with pytest.raises(ValueError, match="weight is not"):
        gradient_check(nn.Conv2d(1, 1, 3), x.float())
    with pytest.raises(ValueError, match="the input is torch.float32"):
        gradient_check(nn.ReLU(), x.float())


# Activations and pooling at their extremes


@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "Sigmoid", "SiLU", "BatchNormSiLU"])
def test_an_activation_at_its_extremes(name: str) -> None:
    """The kink at zero takes torch's side of it, and nothing overflows far away from it."""
    x = torch.tensor([0.0, -0.0, 80.0, -80.0, 1e30, -1e30], dtype=torch.float64)
    x = x.clamp(-1e4, 1e4) if name == "BatchNormSiLU" else x
    x = x.view(6, 1, 1, 1)
    assert_parity(*pair(name, tuple(x.shape)), x)


@pytest.mark.parametrize("slope", [2.0, -0.5, float("nan")])
def test_a_slope_that_hides_the_sign_of_the_input_is_refused(slope: float) -> None:
    with pytest.raises(ValueError, match=rf"lies in \[0, 1\], and {slope} does not"):
        nn.LeakyReLU(slope)


@pytest.mark.parametrize("dtype", DTYPES)
def test_radial_tanh_keeps_phases_and_never_amplifies(dtype: torch.dtype) -> None:
    m = 3 * random_tensor((50, 8), dtype, 1)
    m[:4] *= 1e4
    given, bound = (torch.view_as_complex(t.view(50, 4, 2)) for t in (m, nn.RadialTanh()(m)))
    assert float(bound.abs().max()) <= 1 + 1e-6
    torch.testing.assert_close(bound.angle(), given.angle())
    torch.testing.assert_close(bound.abs(), given.abs().tanh())


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-6, 1e-3])
def test_radial_tanh_is_the_identity_at_zero(size: float) -> None:
    layer, m = nn.RadialTanh(), size * random_tensor((50, 8), torch.float32, 1)
    gradient = random_tensor((50, 8), torch.float32, 2)
    torch.testing.assert_close(layer(m), m, rtol=1e-5, atol=0)
    torch.testing.assert_close(layer.backward(gradient), gradient, rtol=1e-4, atol=1e-4)


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(4, 12), st.integers(4, 12)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.none() | st.tuples(st.integers(1, 5), st.integers(1, 5)),
    ties=st.booleans(),
)
@ladder
def test_max_pool(shape: tuple[int, ...], kernel: Any, stride: Any, ties: bool) -> None:
    x = random_tensor(shape, torch.float64, 1)
    if ties:  # whole numbers, most of them equal: the first of equals gets the gradient
        x = x.round()
    ours, theirs = nn.MaxPool2d(kernel, stride), torch.nn.MaxPool2d(kernel, stride)
    assert_parity(ours, theirs, x)
    assert torch.equal(ours.eval()(x), ours.train()(x))


def test_a_window_of_more_places_than_a_byte_can_number() -> None:
    x = random_tensor((1, 2, 34, 17), torch.float64, 1)
    assert_parity(nn.MaxPool2d(17), torch.nn.MaxPool2d(17), x)


# What containers may overwrite


def test_nothing_that_two_read_is_overwritten() -> None:
    """A rectifier as the first or last layer of what sits beside a skip or under a mask."""

    def nets(of: Any, act: Any) -> list[Any]:
        conv, chain = of.Conv2d, of.Sequential
        return [
            of.UNetLevel(chain(conv(2, 2, 1), act(0.2)), chain(act(0.2)), chain(conv(4, 2, 1))),
            of.UNetLevel(chain(conv(2, 2, 1)), chain(act(0.2), conv(2, 2, 1)), chain(act(0.2))),
            of.Mask(chain(act(0.2), conv(2, 2, 1), act(0.2))),
            chain(of.Mask(conv(2, 2, 1)), act(0.2), of.Mask(chain(act(0.2)))),
            chain(chain(), act(0.2)),  # the first puts out what it is given
        ]

    x = random_tensor((1, 2, 3, 4), torch.float64, 1)
    for ours, theirs in zip(nets(nn, nn.LeakyReLU), nets(TORCH, torch.nn.LeakyReLU), strict=True):
        randomise(ours, torch.float64, seed=2)
        assert_parity(ours, theirs, x)


@pytest.mark.parametrize("kind", ["image", "rows"])
def test_a_first_layer_may_leave_out_the_gradient_nobody_reads(kind: str) -> None:
    if kind == "image":
        first, twin = nn.Conv2d(2, 3, 3, padding=1), torch.nn.Conv2d(2, 3, 3, padding=1)
    else:
        first, twin = nn.FrequencyConv(4, 3), TORCH.FrequencyConv(4, 3, 3, True)
    first.input_gradient = False
    x = random_tensor((3, 2, 7, 4), torch.float64, 1)
    assert_parity(first.to(dtype=x.dtype), twin, x)
    with torch.inference_mode():
        assert first.backward(torch.ones_like(first(x))).numel() == 0
    convolution = nn.Conv2d(2, 2, 1)
    convolution.input_gradient = False
    mask = nn.Mask(convolution)
    assert mask.backward(torch.ones_like(mask(x.float()))).numel() == 0


# Losses


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["MSELoss", "L1Loss"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss(name: str, layout: str, dtype: torch.dtype) -> None:
    loss, theirs = getattr(nn, name)(), getattr(torch.nn, name)()
    prediction = random_tensor((3, 2, 7, 5), dtype, 0, layout)
    target = random_tensor((3, 2, 7, 5), dtype, 1)
    kept = prediction.clone(), target.clone()
    leaf = prediction.double().clone().requires_grad_()
    expected = theirs(leaf, target.double())
    expected.backward()
    assert leaf.grad is not None
    with torch.inference_mode():
        value, gradient = loss(prediction, target), loss.backward()
    assert value.shape == () and value.dtype == gradient.dtype == dtype
    allowed = EXACT if dtype == torch.float64 else FLOOR
    own = relative_error(theirs(prediction, target), expected)  # a sum, in the library's order
    assert relative_error(value, expected) < max(allowed, FACTOR * own if own > EXACT else 0)
    assert relative_error(gradient, leaf.grad) < allowed  # no sum: as exact as its type
    assert torch.equal(prediction, kept[0]) and torch.equal(target, kept[1])
    assert float(loss(target, target)) == 0.0 and not loss.backward().any()
    with pytest.raises(AssertionError, match="needs a forward pass"):
        loss.backward()
    with pytest.raises(ValueError, match=r"prediction \(2, 1\) and target \(2, 3\) differ"):
        loss(torch.zeros(2, 1), torch.zeros(2, 3))


# A wrong shape gets one sentence that names the layer


@pytest.mark.parametrize(
    ("layer", "shape", "told"),
    [
        (nn.Conv2d(2, 3, 3), (2, 8, 8), "Conv2d takes images (N, 2, F, T) and got (2, 8, 8)"),
        (nn.ConvTranspose2d(2, 3, 3), (1, 3, 8, 8), "ConvTranspose2d takes images (N, 2, F, T)"),
        (nn.MaxPool2d(2), (2, 8, 8), "MaxPool2d takes images (N, C, F, T) and got (2, 8, 8)"),
        (nn.MaxPool2d(2), (1, 1, 1, 4), "a 2x2 kernel does not fit a 1x4 image"),
        (nn.Conv2d(1, 1, 5, 1, (1, 0)), (1, 1, 2, 9), "a 5x5 kernel does not fit a 2x9 image"),
        (nn.Mask(nn.MaxPool2d(2)), (1, 1, 2, 2), "Mask needs (1, 1, 2, 2) from inside and got"),
        (nn.Residual(nn.Conv2d(2, 1, 1)), (1, 2, 3, 3), "Residual needs (1, 2, 3, 3) from"),
        (models.build("v4", "small"), (1, 1, 250, 256), "UNetLevel cannot join"),
        (nn.Linear(4, 3), (2, 5), "Linear takes (..., 4) and got (2, 5)"),
        (nn.BatchNorm(4), (2, 5), "BatchNorm takes (..., 4) and got (2, 5)"),
        (nn.BatchNorm(4), (1, 1, 4), "BatchNorm needs 2 rows or more to train, got 1"),
        (nn.GRU(4, 3), (4,), "GRU takes (T, ..., 4) and got (4,)"),
        (nn.FrequencyConv(4, 3), (2, 6, 5), "FrequencyConv takes (..., F, 4) and got (2, 6, 5)"),
        (nn.BandMatrix(6, 3), (2, 5, 4), "BandMatrix takes (..., 6, C) and got (2, 5, 4)"),
        (nn.ChannelBandMatrix(4, 6, 3), (2, 5, 4), "ChannelBandMatrix takes (..., 6, 4) and"),
        (nn.RadialTanh(), (2, 5), "RadialTanh takes pairs along the last axis and got (2, 5)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_wrong_shape(layer: nn.Module, shape: tuple[int, ...], told: str) -> None:
    with pytest.raises(ValueError) as refusal:
        layer(torch.zeros(shape))
    assert str(refusal.value).startswith(told)


def test_what_no_layer_can_be_made_of() -> None:
    with pytest.raises(ValueError, match="FrequencyConv needs an odd kernel, got 4"):
        nn.FrequencyConv(2, 2, 4)
    with pytest.raises(ValueError, match="smaller than the stride"):
        nn.ConvTranspose2d(1, 1, 3, stride=2, output_padding=(1, 2))
    with pytest.raises(ValueError, match="unknown kernels 'fastest': choose fast or reference"):
        nn.Conv2d(1, 1, 3).use_kernels("fastest")
