"""The U-Net of every version: its shapes, its gradients against the torch twin, and checkpoints
that go both ways."""

from __future__ import annotations

import pytest
import torch

from audio_denoising import models, nn
from audio_denoising.models import unet
from audio_denoising.models.shapes import shapes
from audio_denoising.models.twin import LAYERS, build_twin
from tests.nn.parity import KERNELS, assert_parity, random_tensor

# (channels, frequency bins, frames) of the large size for an input of (1, 256, 256): encoders 1 to
# 4, bottleneck, decoders 4 to 1, output. The small size has a quarter of the channels.
ENCODED = [(64, 128, 128), (128, 64, 64), (256, 32, 32), (512, 16, 16)]
SHAPES = [*ENCODED, (1024, 8, 8), *ENCODED[::-1], (1, 256, 256)]


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("version", ["v2", "v3", "v4", "torch"])
def test_shapes_of_every_block(version: str, size: str) -> None:
    """Of the twin, which the same function assembles, and the same weights of the same shapes."""
    plan, widths, seen = models.VERSIONS[version].plan, models.WIDTHS[size], []
    with torch.device("meta"):  # shapes without numbers
        twin, model = (unet.assemble(of, plan, widths) for of in (LAYERS, nn))
    for name, block in twin.named_modules():
        bottleneck = name.endswith("inner.0") and isinstance(block, torch.nn.Sequential)
        if bottleneck or name == "" or name.endswith(("encode", "decode")):
            block.register_forward_hook(lambda _m, _x, y: seen.append(tuple(y.shape[1:])))
    twin.eval()(torch.empty(2, 1, 256, 256, device="meta"))
    parts = 4 if size == "small" else 1
    assert seen == [(c // parts or 1, f, t) for c, f, t in SHAPES]
    ours, theirs = ([(n, t.shape) for n, t in m.state_dict().items()] for m in (model, twin))
    assert ours == theirs
    assert shapes(version, size) == {name: tuple(shape) for name, shape in ours}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("version", ["v2", "v4"])
def test_output_and_gradients_of_the_whole_network(version: str, kernels: str) -> None:
    torch.manual_seed(1)
    model = models.build(version, "small", kernels).to(dtype=torch.float64)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # they start at zero, where a mistake would not show
            parameter.data.normal_(0, 0.1)
    assert_parity(
        model, build_twin(version, "small"), random_tensor((1, 1, 32, 64), torch.float64, 1).abs()
    )


@pytest.mark.parametrize("version", ["v2", "v3", "v4", "torch"])
def test_checkpoints_load_both_ways(version: str) -> None:
    model, twin = models.build(version, "small").eval(), build_twin(version, "small").eval()
    x = random_tensor((2, 1, 64, 32), torch.float32, 1).abs()
    with torch.inference_mode():
        assert float((model(x) - twin(x)).abs().max()) > 1e-3  # from different first weights
        twin.load_state_dict(model.state_dict())
        torch.testing.assert_close(model(x), twin(x), rtol=1e-5, atol=1e-5)
        other = build_twin(version, "small").eval()
        model.load_state_dict(other.state_dict())
        torch.testing.assert_close(model(x), other(x), rtol=1e-5, atol=1e-5)


def test_no_pixel_gets_brighter_and_a_batch_changes_nothing() -> None:
    model = models.build("v4", "small").eval()
    x = random_tensor((3, 1, 64, 96), torch.float32, 1).abs()
    with torch.inference_mode():
        y = model(x)
        alone = torch.cat([model(one[None]) for one in x])
    assert y.shape == x.shape
    assert bool((y >= 0).all()) and bool((y <= x).all())
    torch.testing.assert_close(y, alone)


@pytest.mark.parametrize("version", ["v2", "v3", "v4", "torch"])
def test_an_untrained_network_changes_little(version: str) -> None:
    """It starts as an even mask near 0.9, from where training is not lost on the flat sigmoid."""
    x = random_tensor((2, 1, 64, 64), torch.float32, 1).abs()
    model = build_twin(version, "small") if version == "torch" else models.build(version, "small")
    with torch.inference_mode():
        mask = model.eval()(x) / x
    assert float(mask.mean()) == pytest.approx(0.9, abs=0.05)
    assert float(mask.std()) < 0.1
