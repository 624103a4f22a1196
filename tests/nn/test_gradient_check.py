"""Every layer against random-cotangent finite differences, and the check against wrong layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.nn import gradient_check
from tests.nn.parity import KERNELS, random_tensor, randomise

Make = Callable[[str], nn.Module]  # from the name of the kernels

LAYERS: dict[str, Make] = {
    "Conv2d": lambda k: nn.Conv2d(3, 2, (3, 2), (2, 1), (1, 2), kernels=k),
    "Conv2d of many channels": lambda k: nn.Conv2d(3, 5, 3, 1, 1, kernels=k),
    "Conv2d 1x1 without bias": lambda k: nn.Conv2d(3, 2, 1, bias=False, kernels=k),
    "ConvTranspose2d 2x2": lambda k: nn.ConvTranspose2d(3, 2, 2, 2, kernels=k),
    "ConvTranspose2d 3x3": lambda k: nn.ConvTranspose2d(3, 2, 3, 2, 1, 1, kernels=k),
    "ConvTranspose2d odd": lambda k: nn.ConvTranspose2d(3, 2, (4, 1), (3, 2), (2, 0), kernels=k),
    "MaxPool2d": lambda k: nn.MaxPool2d((2, 3), (2, 1)),
    "ReLU": lambda k: nn.ReLU(),
    "LeakyReLU": lambda k: nn.LeakyReLU(0.2),
    "Sigmoid": lambda k: nn.Sigmoid(),
    "Sequential": lambda k: nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1, kernels=k), nn.LeakyReLU(0.2), nn.MaxPool2d(2), nn.Sigmoid()
    ),
    "UNetLevel": lambda k: nn.UNetLevel(
        nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, kernels=k), nn.LeakyReLU(0.2)),
        nn.Sequential(
            nn.Conv2d(4, 5, 3, 2, 1, kernels=k),
            nn.ReLU(),
            nn.ConvTranspose2d(5, 2, 2, 2, kernels=k),
        ),
        nn.Sequential(nn.Conv2d(6, 2, 3, 1, 1, kernels=k), nn.Sigmoid()),
    ),
    "Mask": lambda k: nn.Mask(nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1, kernels=k), nn.Sigmoid())),
}  # fmt: skip


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", LAYERS)
def test_layer_against_finite_differences(name: str, kernels: str) -> None:
    layer = LAYERS[name](kernels)
    randomise(layer, torch.float64, seed=7)
    x = random_tensor((2, 3, 8, 4), torch.float64, 8)
    with torch.inference_mode():
        errors = gradient_check(layer, x)
    assert errors.keys() == {"input", *(n for n, _ in layer.named_parameters())}
    assert max(errors.values()) < 1e-7, errors


class Square(nn.Module):
    """y = w x^2, with an error that a test can plant in either gradient."""

    def __init__(self, slip: str = "") -> None:
        self.weight = nn.Parameter(torch.tensor([2.0, -3.0], dtype=torch.float64))
        self.slip = slip

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2) -> (N, 2)."""
        self.x = x
        return self.weight.data * x * x

    def backward(self, grad_output: Tensor) -> Tensor:
        """(N, 2) -> (N, 2)."""
        factor = 1.001 if self.slip == "weight" else 1.0
        self.weight.add_gradient((grad_output * self.x**2).sum(0) * factor)
        return grad_output * self.weight.data * self.x * (1.0 if self.slip == "input" else 2.0)


def test_wrong_gradients_are_found() -> None:
    x = random_tensor((3, 2), torch.float64, 1)
    assert max(gradient_check(Square(), x).values()) < 1e-8
    wrong = gradient_check(Square("input"), x)
    assert wrong["input"] == pytest.approx(0.5, rel=1e-6) and wrong["weight"] < 1e-8
    wrong = gradient_check(Square("weight"), x)
    assert wrong["weight"] == pytest.approx(0.001, rel=1e-4) and wrong["input"] < 1e-8


def test_the_check_leaves_module_and_input_alone() -> None:
    layer = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).to(dtype=torch.float64).eval()
    x = random_tensor((1, 1, 4, 5), torch.float64, 1)
    state, before = layer.state_dict(), x.clone()
    first = gradient_check(layer, x, entries=4)
    assert gradient_check(layer, x, entries=4) == first
    assert not layer.training
    assert torch.equal(x, before)
    for name, parameter in layer.named_parameters():
        assert torch.equal(parameter.data, state[name])
        assert not parameter.grad.any()


def test_single_precision_is_refused() -> None:
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="weight is not"):
        gradient_check(nn.Conv2d(1, 1, 3), x)
    with pytest.raises(ValueError, match="the input is torch.float32"):
        gradient_check(nn.ReLU(), x)


def test_a_layer_that_overwrites_what_it_is_given_is_found() -> None:
    class Greedy(nn.Module):
        def __init__(self, what: str) -> None:
            self.what = what

        def forward(self, x: Tensor) -> Tensor:
            """(N, 2) -> (N, 2)."""
            return x.mul_(2) if self.what == "input" else x * 2

        def backward(self, grad_output: Tensor) -> Tensor:
            """(N, 2) -> (N, 2)."""
            return grad_output.mul_(2) if self.what == "gradient" else grad_output * 2

    x = random_tensor((3, 2), torch.float64, 1)
    assert max(gradient_check(Greedy("nothing"), x).values()) < 1e-8
    for what in ("input", "gradient"):
        with pytest.raises(ValueError, match="overwrites a tensor that it is given"):
            gradient_check(Greedy(what), x)
