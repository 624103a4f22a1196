"""The judge itself: what is wrong by a little more than rounding does not pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from audio_denoising import nn
from tests.nn.parity import DTYPES, assert_parity, random_tensor, randomise

Plant = Callable[[nn.Conv2d], None]


def wrong_by(factor: float, what: str) -> Plant:
    """Multiplies the output, the gradient at the input or that of the weights."""

    def plant(layer: nn.Conv2d) -> None:
        operations = layer.operations

        class Wrong:
            """The operations with one result a little off."""

            @staticmethod
            def correlate(*arguments: Tensor) -> Tensor:
                y: Tensor = operations.correlate(*arguments)
                return y * factor if what == "output" else y

            @staticmethod
            def gradients(*arguments: Tensor) -> tuple[Tensor, Tensor]:
                dx, dw = operations.gradients(*arguments)
                return dx * factor if what == "input" else dx, dw * factor if what == "w" else dw

        layer.operations = Wrong  # type: ignore[assignment]

    return plant


def short_numbers(layer: nn.Conv2d) -> None:
    """Rounds the weights to 10 bits behind the first, as TF32 units do."""
    forward = layer.forward

    def rounded(x: Tensor) -> Tensor:
        kept = layer.weight.data.clone()
        mantissa, exponent = torch.frexp(kept)
        layer.weight.data.copy_(torch.ldexp((mantissa * 2**11).round() / 2**11, exponent))
        y = forward(x)
        layer.weight.data.copy_(kept)
        return y

    layer.forward = rounded  # type: ignore[method-assign]


PLANTS: dict[str, tuple[Plant, str, list[torch.dtype]]] = {
    "output": (wrong_by(1 + 1e-5, "output"), "output", DTYPES),
    "gradient at the input": (wrong_by(1 + 1e-5, "input"), "input gradient", DTYPES),
    "gradient of the weights": (wrong_by(1 + 1e-5, "w"), "gradient", DTYPES),
    "a billionth": (wrong_by(1 + 1e-8, "output"), "output", [torch.float64]),
    "11 bits": (short_numbers, "output", DTYPES),
}


@pytest.mark.parametrize("plant", [None, *PLANTS])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [3, 64], ids=["rows", "Winograd"])
def test_what_is_wrong_is_found(channels: int, dtype: torch.dtype, plant: str | None) -> None:
    layer, twin = (
        kind.Conv2d(channels, channels, 3, padding=1)  # type: ignore[attr-defined]
        for kind in (nn, torch.nn)
    )
    randomise(layer, dtype, seed=1)
    x = random_tensor((1, channels, 9, 12), dtype, 2)
    if plant is None:
        assert_parity(layer, twin, x, factor=20)
        return
    change, where, dtypes = PLANTS[plant]
    change(layer)
    if dtype in dtypes:
        with pytest.raises(AssertionError, match=f"'[a-z ]*{where}"):
            assert_parity(layer, twin, x, factor=20)
