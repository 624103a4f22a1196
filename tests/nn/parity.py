"""Holds a layer of ours against torch: the same numbers in, the same numbers out and back.

The judge is always torch's autograd in float64, also of our float32 results.

Relative error means ||ours - theirs|| / ||theirs|| with the L2 norm over the whole tensor. An
element-wise ratio would say nothing where a sum cancels to nearly zero. In float32 the gradients of
all parameters count as one vector for the same reason: the bias gradient of a layer with a single
output channel is a single sum, and where that happens to cancel from 7300 to 9 (as in the last
layer of the U-Net below) rounding alone leaves 6e-6 of it, and 3e-5 in torch's own float32 layer.
In float64 every tensor is held to the bound by itself.
"""

from __future__ import annotations

import torch
from hypothesis import settings
from torch import Tensor

from audio_denoising import nn

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-6}
DTYPES = list(TOLERANCE)
KERNELS = ["fast", "reference"]
LAYOUTS = ["contiguous", "channels last", "strided"]

ladder = settings(max_examples=60, deadline=None, derandomize=True, database=None)
"""The same bounded set of random shapes in every run."""


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """||ours - theirs|| / ||theirs||, or ||ours|| where theirs is zero."""
    assert ours.shape == theirs.shape, f"{tuple(ours.shape)} is not {tuple(theirs.shape)}"
    ours, theirs = ours.detach().double(), theirs.detach().double()
    size = float(theirs.norm())
    return float((ours - theirs).norm()) / size if size else float(ours.norm())


def random_tensor(
    shape: tuple[int, ...], dtype: torch.dtype, seed: int, layout: str = "contiguous"
) -> Tensor:
    """Standard normal values that lie in memory as `layout` says."""
    values = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    return lay_out(values, layout)


def lay_out(values: Tensor, layout: str) -> Tensor:
    """The same values, another memory layout."""
    if layout == "channels last":
        return values.to(memory_format=torch.channels_last)
    if layout == "strided":  # every second column of a wider image, behind an offset
        n, c, f, t = values.shape
        wide = values.new_full((n, c + 1, f, 2 * t), 1e6)
        view = wide[:, 1:, :, ::2]
        view.copy_(values)
        return view
    return values.contiguous()


def randomise(module: nn.Module, dtype: torch.dtype, seed: int) -> None:
    """Draws the parameters anew with all digits of `dtype`, biases too, of a layer-like size."""
    module.to(dtype=dtype)
    for i, parameter in enumerate(module.parameters()):
        shape = parameter.data.shape
        size = (shape[1:].numel() or 1) ** -0.5
        parameter.data.copy_(random_tensor(tuple(shape), dtype, seed + 1000 * i) * size)


def load_into(theirs: torch.nn.Module, ours: nn.Module) -> None:
    """Copies our parameters, by name, into a float64 module of torch.nn."""
    theirs.double().load_state_dict(ours.state_dict())
    theirs.zero_grad()


def gradient_errors(ours: nn.Module, theirs: torch.nn.Module) -> dict[str, float]:
    """Relative errors of the parameters' gradients: each one, or in float32 all as one vector."""
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    found = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert found.keys() == expected.keys()
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for name, gradient in found.items():
        wanted = expected[name]
        assert wanted is not None
        assert gradient.shape == wanted.shape
        pairs[f"{name} gradient"] = (gradient, wanted)
    if any(gradient.dtype == torch.float32 for gradient in found.values()):
        ours_flat, theirs_flat = (
            torch.cat([pair[i].double().flatten() for pair in pairs.values()]) for i in (0, 1)
        )
        pairs = {"all gradients": (ours_flat, theirs_flat)}
    return {name: relative_error(*pair) for name, pair in pairs.items()}


def errors(
    ours: nn.Module,
    theirs: torch.nn.Module,
    x: Tensor,
    layouts: tuple[str, str] = ("contiguous", "contiguous"),
) -> dict[str, float]:
    """Relative errors of the output and of every gradient, by name.

    Runs `ours` in the dtype of x under inference mode and `theirs` in float64 with autograd, from
    the same parameters, input and random cotangent. `layouts` are those of input and cotangent.
    """
    load_into(theirs, ours)
    x64 = x.detach().double().clone().requires_grad_()
    expected = theirs(x64 * 1)  # times one: in-place layers may not overwrite a leaf
    cotangent = random_tensor(tuple(expected.shape), x.dtype, 77)
    expected.backward(cotangent.double())
    with torch.inference_mode():
        ours.train()
        ours.zero_grad()
        given, gradient = lay_out(x.clone(), layouts[0]), lay_out(cotangent.clone(), layouts[1])
        output = ours(given)
        results = {"output": relative_error(output, expected)}
        grad_input = ours.backward(gradient)
    assert torch.equal(given, x), "forward overwrote its input"
    assert torch.equal(gradient, cotangent), "backward overwrote its input"
    assert x64.grad is not None
    if grad_input.numel():  # a first layer computes none
        results["input gradient"] = relative_error(grad_input, x64.grad)
    results |= gradient_errors(ours, theirs)
    assert output.dtype == grad_input.dtype == x.dtype
    return results


def assert_parity(
    ours: nn.Module,
    theirs: torch.nn.Module,
    x: Tensor,
    layouts: tuple[str, str] = ("contiguous", "contiguous"),
    tolerance: dict[torch.dtype, float] = TOLERANCE,
) -> None:
    """Fails with the name and the error of everything that differs from torch."""
    found = errors(ours, theirs, x, layouts)
    wrong = {name: error for name, error in found.items() if not error < tolerance[x.dtype]}
    assert not wrong, f"relative errors against float64 autograd: {wrong}"


def kept_tensors(module: nn.Module) -> list[str]:
    """Where a module still holds tensors that are not parameters."""
    return [
        f"{type(m).__name__}.{name}"
        for m in module.modules()
        for name, value in vars(m).items()
        if isinstance(value, Tensor)
    ]
