"""Modules as containers of parameters: names, saving, loading, moving, initial values."""

from __future__ import annotations

import pytest
import torch

from audio_denoising import nn
from tests.nn.parity import random_tensor


def network() -> nn.Module:
    """Parameters at two depths."""
    inner = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, 2))
    level = nn.UNetLevel(nn.Conv2d(1, 4, 3, 1, 1), inner, nn.Conv2d(8, 2, 1, bias=False))
    return nn.Sequential(level, nn.Sigmoid())


FIRST = "0.encode.weight"


class Odd(nn.Module):
    """Holds layers, parameters and buffers in every way that Python offers."""

    def __init__(self) -> None:
        self.blocks = [nn.Conv2d(1, 2, 1), (nn.Conv2d(1, 1, 1, bias=False), nn.ReLU())]
        self.by_name = {"gain": nn.Parameter(torch.ones(2)), "deep": [nn.Buffer(torch.zeros(3))]}
        self.count = nn.Buffer(torch.tensor(7))
        self.first = self.blocks[0]  # held twice
        self.thrifty = nn.Recompute(nn.Conv2d(1, 1, 1))  # a layer, not a chain of layers
        self.sizes = [1, 2, "three"]


ODD_PARAMETERS = [
    "by_name.gain",
    "blocks.0.weight",
    "blocks.0.bias",
    "blocks.1.0.weight",
    "thrifty.weight",
    "thrifty.bias",
]
ODD_BUFFERS = ["by_name.deep.0", "count"]


def test_parameters_and_buffers_are_found_wherever_they_hang() -> None:
    module = Odd()
    assert [name for name, _ in module.named_parameters()] == ODD_PARAMETERS
    assert [name for name, _ in module.named_buffers()] == ODD_BUFFERS
    assert module.state_dict().keys() == {*ODD_PARAMETERS, *ODD_BUFFERS}
    assert [type(m).__name__ for m in module.modules()] == [
        *("Odd", "Conv2d", "Conv2d", "ReLU", "Recompute", "Conv2d")
    ]
    assert not any(m.training for m in module.eval().modules())
    assert all(m.training for m in module.train().modules())


def test_buffers_travel_with_the_parameters() -> None:
    module, other = Odd(), Odd()
    for name, buffer in module.named_buffers():
        buffer.data.fill_(len(name))
    other.load_state_dict(module.state_dict())
    assert [float(b.data.flatten()[0]) for _, b in other.named_buffers()] == [14.0, 5.0]
    other.to(dtype=torch.float64)
    assert [b.data.dtype for _, b in other.named_buffers()] == [torch.float64, torch.int64]
    state = module.state_dict()
    del state["count"]
    with pytest.raises(KeyError, match="only one side has: count"):
        other.load_state_dict(state)


def test_a_network_without_memory_comes_to_life_when_it_is_loaded() -> None:
    loaded, model = network(), network()
    with torch.device("meta"):
        shape = network()
    assert all(p.data.is_meta for p in shape.parameters())
    before = torch.get_rng_state()
    shape.load_state_dict(model.state_dict())
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    for ours, theirs in zip(shape.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(ours.data, theirs.data) and ours.data.stride() == theirs.data.stride()


def test_there_is_one_door_for_gradients() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    told: list[nn.Parameter] = []
    parameter.on_gradient = told.append
    parameter.add_gradient(torch.ones(2))
    parameter.add_gradient(torch.ones(2))
    assert told == [parameter, parameter] and parameter.grad.tolist() == [2.0, 2.0]
    with pytest.raises(AttributeError, match="grad"):
        parameter.grad += torch.ones(2)  # type: ignore[misc]
    with pytest.raises(AttributeError, match="grad"):
        parameter.grad = torch.ones(2)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"0.inner.0.bias": None}, KeyError, "only one side has: 0.inner.0.bias"),
        ({"0.inner.9.weight": (1,)}, KeyError, "only one side has: 0.inner.9.weight"),
        # The last parameter: all others would already be copied.
        ({"0.decode.weight": (2, 8, 3, 3)}, ValueError, r"\(2, 8, 3, 3\), not \(2, 8, 1, 1\)"),
        ({"0.decode.weight": (1, 8, 1, 1)}, ValueError, r"0.decode.weight is \(1, 8, 1, 1\)"),
    ],
    ids=["missing", "unknown", "shape", "broadcastable shape"],
)
def test_a_state_that_does_not_fit_changes_nothing(
    change: dict[str, tuple[int, ...] | None], error: type[Exception], told: str
) -> None:
    model = network()
    before, state = model.state_dict(), network().state_dict()
    for name, shape in change.items():
        state.pop(name, None)
        if shape:
            state[name] = torch.zeros(shape)
    with pytest.raises(error, match=told):
        model.load_state_dict(state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_to_moves_values_and_gradients() -> None:
    model = network()
    before = model.state_dict()
    assert model.to(dtype=torch.float64) is model
    for name, parameter in model.named_parameters():
        assert parameter.data.dtype == parameter.grad.dtype == torch.float64
        assert torch.equal(parameter.data, before[name].double())
    x = random_tensor((1, 1, 6, 4), torch.float64, 1)
    assert model(x).dtype == torch.float64
    model.to("cpu", torch.float32)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    model.to("meta")
    assert model(x.float().to("meta")).shape == (1, 2, 6, 4)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_signal_keeps_its_power_through_convolution_and_rectifier(transposed: bool) -> None:
    torch.manual_seed(1)
    layer = nn.ConvTranspose2d(64, 64, 2, 2) if transposed else nn.Conv2d(64, 64, 3, 1, 1)
    x = random_tensor((2, 64, 32, 32), torch.float32, 1)
    y = nn.ReLU()(layer(x))
    assert float(y.square().mean()) == pytest.approx(float(x.square().mean()), rel=0.15)
