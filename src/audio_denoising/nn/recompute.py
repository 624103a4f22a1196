"""Memory for time: a module that forgets its activations and computes them a second time."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from audio_denoising.nn.containers import UNetLevel
from audio_denoising.nn.module import Buffer, Module, Parameter


class Recompute(Module):
    """Stands in for a module: keeps its input alone, and runs it once more when `backward` comes.

    Chen et al., "Training deep nets with sublinear memory cost", 2016 (arXiv:1604.06174). The
    second pass does the same arithmetic as the first, so gradients are the same to the last bit.
    The parameters keep their names: this module does not appear in them. ValueError for a module
    with buffers: running it twice would change them twice.
    """

    def __init__(self, inner: Module) -> None:
        if buffers := [name for name, _ in inner.named_buffers()]:
            raise ValueError(f"a module with buffers ({buffers[0]}) cannot be run twice a step")
        self.inner = inner

    def members(self) -> Iterator[tuple[str, Module | Parameter | Buffer]]:
        """Those of the module inside, a container or a single layer."""
        yield from self.inner.members()

    def _named_modules(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        yield prefix, self
        yield from self.inner._named_modules(prefix, seen)

    def forward(self, x: Tensor) -> Tensor:
        """What the module inside makes of x."""
        self.keep(x)
        return self.inner.eval()(x)

    # y = f(x) is forgotten but for x; backward makes f's activations anew and then is f's own.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x."""
        (x,) = self.take()
        self.inner.train()(x)
        return self.inner.backward(grad_output)


def recompute_levels(model: Module) -> None:
    """Makes every encoder and decoder of a U-Net keep its input alone."""
    for level in [m for m in model.modules() if isinstance(m, UNetLevel)]:
        level.encode, level.decode = Recompute(level.encode), Recompute(level.decode)
