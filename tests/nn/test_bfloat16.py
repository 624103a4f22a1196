"""Mixed precision: images in bfloat16, and with them products and gradients of images; parameters,
their gradients, the optimiser's state and the loss stay float32.

bfloat16 keeps 8 bits of a number, so one rounding is an error of up to 2^-9 = 2e-3. A layer rounds
its weights, its result, and the partial sums of its products: 2e-2 of the whole tensor (L2 norm)
leaves room for that and for nothing else. Through a whole network more adds up, above all where a
rounded value changes sides at the kink of an activation or of the L1 loss. The bounds there are
1e-2 for the prediction (measured: 3e-3) and 5e-2 for the gradient of all parameters as one vector
(measured: 2.2e-2, and 1.8e-2 for torch.nn under autocast).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audio_denoising import models, nn
from tests.nn.parity import KERNELS, random_tensor, randomise, relative_error

PER_LAYER, PREDICTION, GRADIENT = 2e-2, 1e-2, 5e-2

LAYERS = {
    "one channel": lambda kernels: nn.Conv2d(1, 16, 3, 1, 1, kernels=kernels),
    "thin": lambda kernels: nn.Conv2d(16, 32, 3, 1, 1, kernels=kernels),
    "deep": lambda kernels: nn.Conv2d(128, 96, 3, 1, 1, kernels=kernels),
    "down": lambda kernels: nn.Conv2d(16, 16, 3, 2, 1, kernels=kernels),
    "head": lambda kernels: nn.Conv2d(16, 1, 1, kernels=kernels),
    "up 2x2": lambda kernels: nn.ConvTranspose2d(32, 16, 2, 2, kernels=kernels),
    "up 3x3": lambda kernels: nn.ConvTranspose2d(8, 6, 3, 2, 1, 1, kernels=kernels),
    "pool": lambda kernels: nn.MaxPool2d(2),
    "ReLU": lambda kernels: nn.ReLU(),
    "LeakyReLU": lambda kernels: nn.LeakyReLU(0.2),
    "Sigmoid": lambda kernels: nn.Sigmoid(),
    "chain": lambda kernels: nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, kernels=kernels), nn.Sigmoid()),
    "level": lambda kernels: nn.UNetLevel(
        nn.Conv2d(8, 8, 3, 1, 1, kernels=kernels),
        nn.Sigmoid(),
        nn.Conv2d(16, 8, 3, 1, 1, kernels=kernels),
    ),
    "mask": lambda kernels: nn.Mask(nn.Conv2d(8, 8, 3, 1, 1, kernels=kernels)),
}


def both_passes(module: nn.Module, x: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
    """Output, gradient at the input and all parameter gradients as one vector."""
    with torch.inference_mode():
        module.zero_grad()
        y = module(x.clone())
        found = {"output": y.clone(), "input gradient": module.backward(cotangent.clone())}
        if gradients := [p.grad.flatten() for p in module.parameters()]:
            found["parameter gradients"] = torch.cat(gradients)
    return found


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_in_bfloat16_is_close_to_float32(name: str, kernels: str) -> None:
    layer = LAYERS[name](kernels)
    randomise(layer, torch.float32, seed=5)
    weight = next((p.data for p in layer.parameters() if p.data.dim() == 4), None)
    channels = 8 if weight is None else weight.shape[0 if name.startswith("up") else 1]
    x = random_tensor((3, channels, 24, 20), torch.float32, 1).bfloat16()
    y = layer.eval()(x.clone())
    layer.train()
    cotangent = random_tensor(tuple(y.shape), torch.float32, 2).bfloat16()
    exact = both_passes(layer, x.float(), cotangent.float())
    found = both_passes(layer, x, cotangent)
    assert found["output"].dtype == found["input gradient"].dtype == torch.bfloat16
    assert torch.equal(found["output"], y)
    for what, tensor in found.items():
        assert relative_error(tensor, exact[what]) < PER_LAYER, what
    for parameter in layer.parameters():
        assert parameter.data.dtype == parameter.grad.dtype == torch.float32


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("version", ["v2", "v4"])
def test_the_unet_in_bfloat16_is_close_to_float32(version: str, kernels: str) -> None:
    torch.manual_seed(0)
    model = models.build(version, "small", kernels)
    noisy, clean = (random_tensor((2, 1, 64, 64), torch.float32, s).sigmoid() for s in (1, 2))
    results = {}
    for dtype in (torch.float32, torch.bfloat16):
        loss = nn.L1Loss()
        with torch.inference_mode():
            model.zero_grad()
            prediction = model(noisy.to(dtype))
            value = loss(prediction, clean)
            model.backward(loss.backward())
        assert prediction.dtype == dtype
        assert value.dtype == torch.float32
        assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        results[dtype] = (prediction.clone(), gradient, value)
    exact, found = results.values()
    assert relative_error(found[0], exact[0]) < PREDICTION
    assert relative_error(found[1], exact[1]) < GRADIENT
    assert float(found[2]) == pytest.approx(float(exact[2]), rel=2e-3)


def test_steps_keep_float32_masters_that_see_small_updates() -> None:
    """A weight of 1 moves by 1e-4 a step: in bfloat16, where 1.0078 comes next, it never would."""
    layer = nn.Conv2d(1, 1, 1)
    layer.weight.data.fill_(1.0)
    optimiser = nn.Adam(layer.parameters(), 1e-4)
    x = torch.ones(1, 1, 4, 4, dtype=torch.bfloat16)
    for _ in range(5):
        optimiser.zero_grad()
        layer.backward(torch.ones_like(layer(x)))
        optimiser.step()
    assert float(layer.weight.data) == pytest.approx(1 - 5e-4, abs=1e-6)
    state = [*optimiser.mean, *optimiser.square, *(p.data for p in layer.parameters())]
    assert {tensor.dtype for tensor in state} == {torch.float32}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_gradients_of_many_samples_add_up_in_float32(kernel: int, kernels: str) -> None:
    """Sums of ones over 600 samples; a bfloat16 sum gets stuck at 256."""
    layer = nn.Conv2d(2, 2, kernel, padding=kernel // 2, kernels=kernels)
    x = torch.ones(600, 2, 2, 2, dtype=torch.bfloat16)
    layer.backward(torch.ones_like(layer(x)))
    assert layer.bias is not None
    assert layer.bias.grad.tolist() == [2400.0, 2400.0]
    middle = layer.weight.grad[:, :, kernel // 2, kernel // 2]
    assert middle.flatten().tolist() == [2400.0] * 4


@pytest.mark.parametrize("loss", [nn.L1Loss(), nn.MSELoss()], ids=lambda x: type(x).__name__)
def test_a_loss_is_computed_in_float32(loss: nn.Loss) -> None:
    prediction = random_tensor((4, 1, 16, 16), torch.float32, 1).bfloat16()
    target = random_tensor((4, 1, 16, 16), torch.float32, 2)
    value, gradient = loss(prediction, target), loss.backward()
    assert torch.equal(value, loss(prediction.float(), target))
    assert value.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    assert torch.equal(gradient, loss.backward().bfloat16())
