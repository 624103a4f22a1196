"""The layers of recurrent features (T, N, F, C): against float64 autograd over random shapes, by
finite differences, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_denoising import nn
from audio_denoising.models.causal_torch import LAYERS as TORCH
from audio_denoising.nn import gradient_check
from tests.nn.parity import (
    LAYOUTS,
    assert_parity,
    kept_tensors,
    ladder,
    random_tensor,
    randomise,
)

# From the layers of one side, bands F, channels C, outputs C' (or F') and a kernel.
Make = Callable[[Any, int, int, int, int], Any]

LAYERS: dict[str, Make] = {
    "Linear": lambda of, f, c, o, k: of.Linear(c, o),
    "Linear without bias": lambda of, f, c, o, k: of.Linear(c, o, False),
    "BandMatrix": lambda of, f, c, o, k: of.BandMatrix(f, o),
    "ChannelBandMatrix": lambda of, f, c, o, k: of.ChannelBandMatrix(c, f, o),
    "FrequencyConv": lambda of, f, c, o, k: of.FrequencyConv(c, o, k, True),
    "FrequencyConv without bias": lambda of, f, c, o, k: of.FrequencyConv(c, o, k, False),
    "BatchNorm": lambda of, f, c, o, k: of.BatchNorm(c),
    "BatchNorm without bias": lambda of, f, c, o, k: of.BatchNorm(c, False),
    "BatchNormSiLU": lambda of, f, c, o, k: of.BatchNormSiLU(c),
    "GRU": lambda of, f, c, o, k: of.GRU(c, o),
    "SiLU": lambda of, f, c, o, k: of.SiLU(),
    "RadialTanh": lambda of, f, c, o, k: of.Sequential(of.Linear(c, 2 * o), of.RadialTanh()),
    "Residual": lambda of, f, c, o, k: of.Residual(
        of.Sequential(of.Linear(c, o), of.SiLU(), of.Linear(o, c, False), of.BatchNorm(c))
    ),
    "UNetLevel": lambda of, f, c, o, k: of.UNetLevel(
        of.Sequential(of.FrequencyConv(c, o, k, False), of.BatchNormSiLU(o)),
        of.Residual(of.Sequential(of.GRU(o, o), of.ChannelBandMatrix(o, f, f))),
        of.Sequential(of.Linear(2 * o, c, False), of.BatchNormSiLU(c)),
        -1,
    ),
}
layers = pytest.mark.parametrize("name", LAYERS)


def make(name: str, of: Any, *sizes: int) -> Any:
    """A layer of one side, and for ours with float64 parameters drawn at random."""
    layer = LAYERS[name](of, *sizes)
    if of is nn:
        randomise(layer, torch.float64, seed=5)
    return layer


@layers
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 9), st.integers(1, 6)),
    outputs=st.integers(1, 5),
    kernel=st.sampled_from([1, 3, 5]),
    layouts=st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS)),
)
@settings(ladder, max_examples=30)
def test_layer(
    name: str, shape: tuple[int, ...], outputs: int, kernel: int, layouts: tuple[str, str]
) -> None:
    if shape[:3] == (1, 1, 1):  # one row has no moments
        shape = (2, *shape[1:])
    sizes = *shape[2:], outputs, kernel
    x = random_tensor(shape, torch.float64, 1)
    assert_parity(make(name, nn, *sizes), make(name, TORCH, *sizes), x, layouts)


@layers
def test_layer_in_single_precision(name: str) -> None:
    """Long enough to be computed in several blocks."""
    sizes = 21, 12, 12, 3
    ours = make(name, nn, *sizes).to(dtype=torch.float32)
    x = random_tensor((60, 12, 21, 12), torch.float32, 1)
    assert_parity(ours, make(name, TORCH, *sizes), x)


@layers
def test_layer_against_finite_differences(name: str) -> None:
    layer = make(name, nn, 5, 4, 3, 3)
    with torch.inference_mode():
        found = gradient_check(layer, random_tensor((4, 2, 5, 4), torch.float64, 8), entries=40)
    assert found.keys() == {"input", *(n for n, _ in layer.named_parameters())}
    assert max(found.values()) < 1e-7, found


@layers
def test_the_check_leaves_running_averages_alone(name: str) -> None:
    layer = make(name, nn, 5, 4, 3, 3)
    before = layer.state_dict()
    gradient_check(layer, random_tensor((2, 2, 5, 4), torch.float64, 8), entries=1)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


@layers
def test_evaluation_keeps_nothing_and_training_lets_go_after_backward(name: str) -> None:
    layer = make(name, nn, 5, 4, 3, 3)
    x = random_tensor((4, 2, 5, 4), torch.float64, 1)
    layer.eval()(x)
    assert [where for where in kept_tensors(layer) if where != "GRU.last_state"] == []
    y = layer.train()(x)
    assert kept_tensors(layer) != []
    layer.backward(torch.ones_like(y))
    assert [where for where in kept_tensors(layer) if where != "GRU.last_state"] == []
    with pytest.raises(AssertionError, match="backward needs a forward pass in training mode"):
        layer.backward(torch.ones_like(y))


@layers
def test_nothing_at_all_passes_in_evaluation_mode(name: str) -> None:
    """A stream may have no frame to give yet."""
    layer = make(name, nn, 5, 4, 3, 3).eval()
    none = random_tensor((0, 2, 5, 4), torch.float64, 1)
    some = random_tensor((1, 2, 5, 4), torch.float64, 1)
    assert layer(none).shape == (0, *layer(some).shape[1:])


@pytest.mark.parametrize(
    ("layer", "shape", "takes"),
    [
        (nn.Linear(4, 3), (2, 5), "(..., 4)"),
        (nn.Linear(4, 3), (), "(..., 4)"),
        (nn.BatchNorm(4), (2, 5), "(..., 4)"),
        (nn.BatchNormSiLU(4), (2, 1), "(..., 4)"),
        (nn.GRU(4, 3), (2, 3, 5), "(T, ..., 4)"),
        (nn.GRU(4, 3), (4,), "(T, ..., 4)"),
        (nn.FrequencyConv(4, 3), (2, 6, 5), "(..., F, 4)"),
        (nn.FrequencyConv(4, 3), (4,), "(..., F, 4)"),
        (nn.BandMatrix(6, 3), (2, 5, 4), "(..., 6, C)"),
        (nn.BandMatrix(6, 3), (6,), "(..., 6, C)"),
        (nn.ChannelBandMatrix(4, 6, 3), (2, 6, 5), "(..., F, 4)"),
        (nn.ChannelBandMatrix(4, 6, 3), (2, 5, 4), "(..., 6, C)"),
        (nn.ChannelBandMatrix(4, 6, 3), (4,), "(..., F, 4)"),
        (nn.RadialTanh(), (2, 5), "pairs along the last axis"),
        (nn.RadialTanh(), (), "pairs along the last axis"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_a_wrong_shape_gets_one_sentence(
    layer: nn.Module, shape: tuple[int, ...], takes: str, mode: str
) -> None:
    layer.train(mode == "training")
    for call in (layer, layer.overwrite):
        with pytest.raises(ValueError) as refusal:
            call(torch.zeros(shape))
        assert str(refusal.value) == f"{type(layer).__name__} takes {takes} and got {shape}"


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="FrequencyConv needs an odd kernel, got 4"):
        nn.FrequencyConv(2, 2, 4)


def test_a_first_convolution_computes_no_gradient_at_its_input() -> None:
    x = random_tensor((3, 2, 7, 4), torch.float64, 1)
    first, theirs = (make("FrequencyConv", of, 7, 4, 3, 3) for of in (nn, TORCH))
    first.input_gradient = False
    assert_parity(first, theirs, x)
    with torch.inference_mode():
        assert first.backward(torch.ones_like(first(x))).numel() == 0


# Activations far from, and at, zero.


@pytest.mark.parametrize("name", ["SiLU", "BatchNormSiLU"])
def test_silu_overflows_nowhere(name: str) -> None:
    x = torch.tensor([0.0, -0.0, 90.0, -90.0, 1e4, -1e4], dtype=torch.float64)
    assert_parity(make(name, nn, 1, 1, 1, 1), make(name, TORCH, 1, 1, 1, 1), x.view(6, 1, 1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_radial_tanh_keeps_phases_and_never_amplifies(dtype: torch.dtype) -> None:
    m = 3 * random_tensor((50, 8), dtype, 1)
    m[:4] *= 1e4
    layer = nn.RadialTanh()
    given, bound = (torch.view_as_complex(t.view(50, 4, 2)) for t in (m, layer(m)))
    assert float(bound.abs().max()) <= 1 + 1e-6
    torch.testing.assert_close(bound.angle(), given.angle())
    torch.testing.assert_close(bound.abs(), given.abs().tanh())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-7, 1e-6, 1e-5, 1e-3])
def test_radial_tanh_is_the_identity_at_zero(size: float, dtype: torch.dtype) -> None:
    layer, m = nn.RadialTanh(), size * random_tensor((50, 8), dtype, 1)
    gradient = random_tensor((50, 8), dtype, 2)
    torch.testing.assert_close(layer(m), m, rtol=1e-5, atol=0)
    torch.testing.assert_close(layer.backward(gradient), gradient, rtol=1e-4, atol=1e-4)
