"""Holds a layer of ours against torch: the same numbers in, the same numbers out and back.

The judge is always torch's autograd in float64. Relative error means ||ours - theirs|| / ||theirs||
with the L2 norm over the whole tensor; an element-wise ratio would say nothing where a sum cancels
to nearly zero. In float64 every tensor is held to 1e-9, where a right formula leaves 1e-15.

In float32 no fixed bound is fair: what rounding leaves depends on the processor's order of sums,
and on how much cancels. So ours may be `FACTOR` times as far from the float64 truth as the
library's own float32 layer is on the same machine, in the worse of its memory layouts, and never
has to be closer than `FLOOR`, a few roundings of the values themselves. The gradients of all
parameters count as one vector there: the bias gradient of a layer with a single output channel is
a single sum, and where that happens to cancel from 7300 to 9, rounding alone leaves 6e-6 of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from hypothesis import settings
from torch import Tensor
from torch.utils._pytree import tree_leaves

from audio_denoising import nn

EXACT = 1e-9  # relative error allowed in float64
FACTOR = 5.0  # times the library's own error, in float32
FLOOR = 8 * 2.0**-24  # eight roundings to float32
DTYPES = [torch.float64, torch.float32]
KERNELS = ["fast", "reference"]
LAYOUTS = ["contiguous", "channels last", "strided"]

ladder = settings(max_examples=40, deadline=None, derandomize=True, database=None)
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


Results = dict[str, Tensor]


def results_of_torch(module: torch.nn.Module, x: Tensor, cotangent: Tensor) -> Results:
    """Output and gradients of a module of torch.nn, by name, in the type of x."""
    module.zero_grad()
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    output = module(leaf * 1)  # times one: in-place layers may not overwrite a leaf
    output.backward(cotangent.to(x.dtype))
    assert leaf.grad is not None
    return {"output": output.detach(), "input gradient": leaf.grad, **gradients_of(module)}


def gradients_of(module: nn.Module | torch.nn.Module) -> Results:
    """The gradients of all parameters by name; in float32 all of them as one vector."""
    found: Results = {}
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        found[f"{name} gradient"] = parameter.grad
    return found


def relative_errors(found: Results, truth: Results, as_one: bool) -> dict[str, float]:
    """Of every result in `found`; `as_one`: of the parameters' gradients as one vector."""
    if as_one:
        found, truth = (dict(_joined(each)) for each in (found, truth))
    return {name: relative_error(result, truth[name]) for name, result in found.items()}


def _joined(results: Results) -> Iterator[tuple[str, Tensor]]:
    of_parameters = [name for name in results if name not in ("output", "input gradient")]
    yield from ((name, results[name]) for name in results if name not in of_parameters)
    if of_parameters:
        flat = [results[name].double().flatten() for name in sorted(of_parameters)]
        yield "all gradients", torch.cat(flat)


def allowed_errors(
    theirs: torch.nn.Module, x: Tensor, cotangent: Tensor, truth: Results, factor: float = FACTOR
) -> dict[str, float]:
    """The relative error that each result may have in the type of x; `theirs` is in float64."""
    if x.dtype == torch.float64:
        return dict.fromkeys(truth, EXACT)
    own: dict[str, float] = {}
    for layout in (torch.contiguous_format, torch.channels_last)[: 2 if x.dim() == 4 else 1]:
        twin = copy.deepcopy(theirs).float().to(memory_format=layout)  # type: ignore[call-overload]
        found = results_of_torch(twin, x.contiguous(memory_format=layout), cotangent)
        for name, error in relative_errors(found, truth, as_one=True).items():
            own[name] = max(FLOOR / factor, error, own.get(name, 0.0))
    return {name: factor * error for name, error in own.items()}


def assert_parity(
    ours: nn.Module,
    theirs: torch.nn.Module,
    x: Tensor,
    layouts: tuple[str, str] = ("contiguous", "contiguous"),
    factor: float = FACTOR,
) -> None:
    """Fails with name, error and bound of everything that is further from the truth than it may be.

    Runs `ours` in the dtype of x under inference mode and `theirs` in float64 with autograd, from
    the same parameters, input and random cotangent. `layouts` are those of input and cotangent.
    """
    load_into(theirs, ours)
    with torch.no_grad():
        shape = tuple(theirs(x.double() * 1).shape)
    cotangent = random_tensor(shape, x.dtype, 77)
    truth = results_of_torch(theirs, x.double(), cotangent)
    allowed = allowed_errors(theirs, x, cotangent, truth, factor)
    with torch.inference_mode():
        ours.train()
        ours.zero_grad()
        given, gradient = lay_out(x.clone(), layouts[0]), lay_out(cotangent.clone(), layouts[1])
        output = ours(given)
        found = {"output": output.clone(), "input gradient": ours.backward(gradient)}
    assert torch.equal(given, x), "forward overwrote its input"
    assert torch.equal(gradient, cotangent), "backward overwrote its input"
    assert output.dtype == found["input gradient"].dtype == x.dtype
    if not found["input gradient"].numel():  # a first layer computes none
        del found["input gradient"]
    found |= gradients_of(ours)
    assert found.keys() <= truth.keys()
    assert truth.keys() - found.keys() <= {"input gradient"}
    errors = relative_errors(found, truth, as_one=x.dtype == torch.float32)
    wrong = {name: (e, allowed[name]) for name, e in errors.items() if not e < allowed[name]}
    assert not wrong, f"relative errors and what is allowed: {wrong}"


def kept_tensors(module: nn.Module) -> list[str]:
    """Where a module still holds tensors that are not parameters."""
    return [
        f"{type(m).__name__}.{name}"
        for m in module.modules()
        for name, value in vars(m).items()
        if any(isinstance(held, Tensor) for held in tree_leaves(value))
    ]


class Slipping(nn.Conv2d):
    """A convolution that is wrong in the place that `slip` names, by a factor."""

    slip = ""
    factor = 1.00001

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y * self.factor if self.slip == "output" else y

    def backward(self, grad_output: Tensor) -> Tensor:
        dx = super().backward(grad_output)
        assert self.bias is not None
        for name, parameter in (("weight", self.weight), ("bias", self.bias)):
            if self.slip == f"{name} gradient":
                parameter.grad.mul_(self.factor)
        return dx * self.factor if self.slip == "input gradient" else dx
