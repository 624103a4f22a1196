"""What a layer is: a `Module` with a forward and a backward pass, and the `Parameter`s it learns.

A `Module` computes `forward(x)`, remembers what its derivative needs, and computes
`backward(grad_output) -> grad_input` by the chain rule, adding to the gradients of its own
parameters on the way. Everything else here is book-keeping: finding parameters and buffers by name,
saving and loading them, moving them between devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

Pair = tuple[int, int]


class Parameter:
    """A learned tensor `data` and its gradient `grad` (same shape, zero until a backward pass).

    A gradient that is zero takes no memory: during a forward pass the images need it. A backward
    pass adds its part by `add_gradient` and by nothing else, once; whoever wants to know when sets
    `on_gradient`.
    """

    on_gradient: Callable[[Parameter], None] | None = None

    def __init__(self, data: Tensor) -> None:
        self.data = data
        self._grad: Tensor | None = None

    @property
    def grad(self) -> Tensor:
        """The gradient, to read or to scale."""
        if self._grad is None:
            self._grad = torch.zeros_like(self.data)
        return self._grad

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


class Buffer:
    """A tensor `data` that a layer keeps and changes in place but does not learn: a running mean.

    It is saved, loaded and moved with the parameters.
    """

    def __init__(self, data: Tensor) -> None:
        self.data = data

    def to(self, device: torch.device | None, dtype: torch.dtype | None) -> None:
        """Moves the tensor; whole numbers (a count) keep their type."""
        keeps_type = not self.data.is_floating_point()
        self.data = self.data.to(device=device, dtype=None if keeps_type else dtype)


class Module:
    """Base of every layer and container.

    A subclass defines `forward` and `backward`. In training mode `forward` keeps what `backward`
    needs; in evaluation mode it keeps nothing. `backward` may be called once after each `forward`.
    Neither changes the tensor that it is given.
    """

    training: bool = True
    fresh_output: bool = False  # the layer keeps nothing of what forward and backward return
    kept: tuple[Any, ...] | None = None  # from the last forward pass, for `backward`

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output."""
        raise NotImplementedError

    def backward(self, grad_output: Tensor) -> Tensor:
        """Adds to the parameters' gradients and returns the gradient at the input.

        `grad_output` has the shape of the last output and is left as it was.
        """
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def keep(self, *values: Any) -> None:
        """Keeps in training mode what `backward` needs of a forward pass."""
        self.kept = values if self.training else None

    def take(self) -> tuple[Any, ...]:
        """What the last forward pass kept, once."""
        assert self.kept is not None, "backward needs a forward pass in training mode"
        kept, self.kept = self.kept, None
        return kept

    def overwrite(self, x: Tensor) -> Tensor:
        """`forward`, which may overwrite x: for a container that knows that nobody else reads x."""
        return self.forward(x)

    def overwrite_gradient(self, grad_output: Tensor) -> Tensor:
        """`backward`, which may overwrite grad_output, for such a container."""
        return self.backward(grad_output)

    def members(self) -> Iterator[tuple[str, Module | Parameter | Buffer]]:
        """The modules, parameters and buffers that this module holds, by name.

        Those in lists and dicts are found too, and named after the place: `blocks.0`.
        """
        for name, value in vars(self).items():
            yield from _members(name, value)

    def modules(self) -> Iterator[Module]:
        """This module and all modules below it, each once."""
        yield from (module for _, module in self._named_modules("", set()))

    def _named_modules(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) not in seen:
            seen.add(id(self))
            yield prefix, self
            for name, held in self.members():
                if isinstance(held, Module):
                    yield from held._named_modules(f"{prefix}{name}.", seen)

    def _named_state(self) -> Iterator[tuple[str, Parameter | Buffer]]:
        """Parameters and buffers with their dotted names, in a fixed order, each once."""
        seen: set[int] = set()
        for path, module in self._named_modules("", set()):
            for name, held in module.members():
                if not isinstance(held, Module) and id(held) not in seen:
                    seen.add(id(held))
                    yield path + name, held

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters of `_named_state`."""
        yield from ((name, p) for name, p in self._named_state() if isinstance(p, Parameter))

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Its buffers."""
        yield from ((name, b) for name, b in self._named_state() if isinstance(b, Buffer))

    def buffers(self) -> list[Buffer]:
        """All buffers, each once."""
        return [buffer for _, buffer in self.named_buffers()]

    def parameters(self) -> list[Parameter]:
        """All parameters, each once."""
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
        """Moves parameters and buffers to a device and/or a floating-point type, in place."""
        for _, held in self._named_state():
            held.to(torch.device(device) if device is not None else None, dtype)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of parameters and buffers by dotted name (the names of the torch.nn twin)."""
        return {name: held.data.clone() for name, held in self._named_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copies the named tensors into parameters and buffers; all names and shapes must match.

        A network on the meta device, which has shapes but no memory, comes to where `state` is.

        Raises:
            KeyError: a name is missing or unknown.
            ValueError: a shape differs.
        """
        own = dict(self._named_state())
        if odd := sorted(own.keys() ^ state.keys()):
            raise KeyError(f"names that only one side has: {', '.join(odd[:4])}")
        for name, held in own.items():
            if held.data.shape != state[name].shape:
                raise ValueError(
                    f"{name} is {tuple(state[name].shape)}, not {tuple(held.data.shape)}"
                )
        for name, held in own.items():
            if held.data.is_meta:
                # Not `empty_like`, for which torch would load its tracer, in a second.
                form, kind = (held.data.shape, held.data.stride()), held.data.dtype
                held.data = torch.empty_strided(*form, dtype=kind, device=state[name].device)
            held.data.copy_(state[name])


def _members(name: str, value: object) -> Iterator[tuple[str, Module | Parameter | Buffer]]:
    if isinstance(value, Module | Parameter | Buffer):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _members(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _members(f"{name}.{i}", item)


# Sizes and shapes: what convolution and pooling work out, and what every layer insists on.


def pair(value: int | Pair) -> Pair:
    """3 -> (3, 3); (3, 5) stays: one number for frequency and one for time."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def output_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """(F, T) of a convolution's output; ValueError if the padded image is below the kernel."""
    (f, t), (kf, kt), (sf, st), (pf, pt) = size, kernel, stride, padding
    fo, to = (f + 2 * pf - kf) // sf + 1, (t + 2 * pt - kt) // st + 1
    if fo < 1 or to < 1:
        raise ValueError(f"a {kf}x{kt} kernel does not fit a {f}x{t} image padded by {pf}x{pt}")
    return fo, to


def require(fits: bool, takes: str, x: Tensor) -> None:
    """Raises ValueError unless x fits: one sentence with the shapes that a layer `takes`."""
    if not fits:
        raise ValueError(f"{takes} and got {tuple(x.shape)}")
