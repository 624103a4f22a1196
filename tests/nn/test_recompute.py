"""Recomputed activations: the same numbers to the last bit, and less to keep."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.models import build


def kept(module: nn.Module) -> int:
    """Bytes that the layers hold on to for a backward pass; a pooled buffer may be larger."""
    storages = {
        value.data_ptr(): value.numel() * value.element_size()
        for part in module.modules()
        for value in part.kept or ()
        if isinstance(value, Tensor)
    }
    return sum(storages.values())


@pytest.mark.parametrize("version", ["v2", "v4"])
def test_gradients_are_the_same_to_the_last_bit_and_less_is_kept(version: str) -> None:
    plain, thrifty = (build(version, "small") for _ in range(2))
    thrifty.load_state_dict(plain.state_dict())
    nn.recompute_levels(thrifty)
    assert thrifty.state_dict().keys() == plain.state_dict().keys()
    x, grad = torch.rand(1, 1, 64, 64), torch.randn(1, 1, 64, 64)
    outputs, sizes = [], []
    for model in (plain, thrifty):
        outputs.append(model.train()(x))
        sizes.append(kept(model))
        model.backward(grad.clone())
    assert torch.equal(*outputs)
    gradients = (dict(model.named_parameters()) for model in (plain, thrifty))
    for (name, a), (other, b) in zip(*(g.items() for g in gradients), strict=True):
        assert name == other and torch.equal(a.grad, b.grad), name
    assert sizes[1] < 0.5 * sizes[0]
    assert torch.equal(thrifty.eval()(x), outputs[0])
    assert not any(module.training for module in thrifty.modules())


def test_a_module_with_running_statistics_is_refused() -> None:
    layer = nn.Sequential(nn.ReLU())
    layer.layers[0].mean = nn.Buffer(torch.zeros(1))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"buffers \(0.mean\)"):
        nn.Recompute(layer)
