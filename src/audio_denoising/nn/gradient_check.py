"""A numerical check of a backward pass: does moving an input move the loss as the gradient says?

The check needs no other library and no derivation, so it also covers layers that torch does not
have. A full Jacobian would need one backward pass per output; instead the outputs are contracted
with one random cotangent c, loss = <forward(x), c>, whose gradients a single `backward(c)` gives.
A wrong entry of the Jacobian would have to be orthogonal to a random vector to go unseen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audio_denoising.nn.module import Module


def gradient_check(
    module: Module, x: Tensor, *, step: float = 1e-6, entries: int | None = None, seed: int = 0
) -> dict[str, float]:
    """Compares the gradients of a module with central differences.

    Every checked entry e costs two forward passes: (loss(e + step) - loss(e - step)) / (2 step).
    Rounding leaves a relative error of about 1e-9 in float64; a wrong formula leaves 1e-2 or more.
    An entry within `step` of a kink (of ReLU, say) has no derivative to compare with.

    Args:
        module: any layer or container, with float64 parameters; they and the buffers keep
            their values, and all gradients are zero afterwards.
        x: float64 input of the module, any layout; it is not changed.
        step: how far each entry is moved to both sides.
        entries: how many entries of each tensor to check, drawn at random; None for all.
        seed: of the cotangent and of the drawn entries.

    Returns:
        ||numeric - analytic|| / ||numeric|| over the checked entries, by name: "input" (absent if
        the module computes no gradient there) and every parameter.

    Raises:
        ValueError: the input or a parameter is not float64, or the module overwrites its input.
    """
    parameters = dict(module.named_parameters())
    if odd := [n for n, p in parameters.items() if p.data.dtype != torch.float64]:
        raise ValueError(f"finite differences need float64, but {odd[0]} is not")
    if x.dtype != torch.float64:
        raise ValueError(f"finite differences need float64, but the input is {x.dtype}")
    generator = torch.Generator().manual_seed(seed)
    was_training = module.training
    module.train()
    module.zero_grad()
    buffers = [(buffer, buffer.data.clone()) for _, buffer in module.named_buffers()]

    moved = x.clone()
    y = module(moved)
    cotangent = torch.randn(y.shape, dtype=y.dtype, generator=generator).to(y.device)
    given = cotangent.clone()
    grad_input = module.backward(given)
    if not (torch.equal(moved, x) and torch.equal(given, cotangent)):
        raise ValueError("the module overwrites a tensor that it is given")
    tensors = {"input": (moved, grad_input)} if grad_input.numel() else {}
    tensors |= {name: (p.data, p.grad.clone()) for name, p in parameters.items()}

    def loss() -> float:
        return float((module(moved) * cotangent).sum())

    errors = {}
    for name, (tensor, analytic) in tensors.items():
        chosen = torch.randperm(tensor.numel(), generator=generator)[:entries]
        difference, size = 0.0, 0.0
        for place in zip(
            *(i.tolist() for i in torch.unravel_index(chosen, tensor.shape)), strict=True
        ):
            kept = float(tensor[place])
            tensor[place] = kept + step
            upper = loss()
            tensor[place] = kept - step
            lower = loss()
            tensor[place] = kept
            numeric = (upper - lower) / (2 * step)
            difference += (numeric - float(analytic[place])) ** 2
            size += numeric**2
        errors[name] = (difference / size) ** 0.5 if size else difference**0.5
    module.zero_grad()
    for buffer, kept_data in buffers:
        buffer.data.copy_(kept_data)
    module.train(was_training)
    return errors
