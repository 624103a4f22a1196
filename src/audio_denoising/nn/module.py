"""What a layer is: a `Module` with a forward and a backward pass, and the `Parameter`s it learns.

A `Parameter` is a tensor and, beside it, a tensor of the same shape that collects its gradient.
A `Module` computes `forward(x)`, remembers what its derivative needs, and computes
`backward(grad_output) -> grad_input` by the chain rule, adding to the gradients of its own
parameters on the way. Everything else here is book-keeping: finding parameters by name, saving
and loading them, moving them between devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


class Parameter:
    """A learned tensor `data` and its gradient `grad` (same shape, zero until a backward pass).

    A gradient that is zero takes no memory: during a forward pass the images need it. Whoever
    wants to know when a backward pass has added its part sets `on_gradient`.
    """

    on_gradient: Callable[[Parameter], None] | None = None

    def __init__(self, data: Tensor) -> None:
        self.data = data
        self._grad: Tensor | None = None

    @property
    def grad(self) -> Tensor:
        """The gradient."""
        if self._grad is None:
            self._grad = torch.zeros_like(self.data)
        return self._grad

    @grad.setter
    def grad(self, gradient: Tensor) -> None:
        self._grad = gradient

    def add_gradient(self, gradient: Tensor) -> None:
        """Adds to the gradient. A fresh tensor that lies as `data` does may become the gradient."""
        if self._grad is not None:
            self._grad += gradient
        elif gradient.stride() == self.data.stride() and gradient.dtype == self.data.dtype:
            self._grad = gradient
        else:
            self._grad = torch.empty_like(self.data).copy_(gradient)
        if self.on_gradient is not None:
            self.on_gradient(self)

    def zero_grad(self) -> None:
        """Sets the gradient to zero."""
        self._grad = None

    def to(self, device: torch.device | None, dtype: torch.dtype | None) -> None:
        """Moves the tensor and its gradient in place."""
        self.data = self.data.to(device=device, dtype=dtype)
        if self._grad is not None:
            self._grad = self._grad.to(device=device, dtype=dtype)


class Module:
    """Base of every layer and container.

    A subclass defines `forward` and `backward`. In training mode `forward` keeps what `backward`
    needs; in evaluation mode it keeps nothing. `backward` may be called once after each `forward`.
    """

    training: bool = True

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output."""
        raise NotImplementedError

    def backward(self, grad_output: Tensor) -> Tensor:
        """Adds to the parameters' gradients and returns the gradient at the input.

        `grad_output` has the shape of the last output and may be overwritten.
        """
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside this one, by attribute name."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def modules(self) -> Iterator[Module]:
        """This module and all modules below it."""
        yield self
        for _, child in self.children():
            yield from child.modules()

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """All parameters below this module with their dotted names, in a fixed order."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, child in self.children():
            yield from child.named_parameters(f"{prefix}{name}.")

    def parameters(self) -> list[Parameter]:
        """All parameters below this module."""
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self) -> None:
        """Sets every gradient to zero."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def train(self, mode: bool = True) -> Module:
        """Switches training mode on (or off) for this module and all below it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switches training mode off: forward passes then keep nothing for a backward pass."""
        return self.train(False)

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Module:
        """Moves every parameter to a device and/or a floating-point type, in place."""
        for parameter in self.parameters():
            parameter.to(torch.device(device) if device is not None else None, dtype)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of every parameter by its dotted name (the names of the torch.nn twin)."""
        return {name: parameter.data.clone() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copies the named tensors into the parameters; all names and shapes must match.

        Raises:
            KeyError: a name is missing or unknown.
            ValueError: a shape differs.
        """
        own = dict(self.named_parameters())
        if odd := sorted(own.keys() ^ state.keys()):
            raise KeyError(f"names that only one side has: {', '.join(odd[:4])}")
        for name, parameter in own.items():
            if parameter.data.shape != state[name].shape:
                raise ValueError(
                    f"{name} is {tuple(state[name].shape)}, not {tuple(parameter.data.shape)}"
                )
        for name, parameter in own.items():
            parameter.data.copy_(state[name])
