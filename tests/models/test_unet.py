"""The U-Net of every version: its shapes, its gradients against the torch twin, and checkpoints
that go both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from audio_denoising import models, nn
from audio_denoising.models.twin import build_twin
from tests.nn.parity import (
    DTYPES,
    KERNELS,
    assert_parity,
    random_tensor,
)

SCRATCH = ["v2", "v3", "v4"]

# (channels, frequency bins, frames) of the large size for an input of (1, 256, 256): encoders 1 to
# 4, bottleneck, decoders 4 to 1, output. The small size has a quarter of the channels.
SHAPES = [
    (64, 128, 128),
    (128, 64, 64),
    (256, 32, 32),
    (512, 16, 16),
    (1024, 8, 8),
    (512, 16, 16),
    (256, 32, 32),
    (128, 64, 64),
    (64, 128, 128),
    (1, 256, 256),
]


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """Encoders, bottleneck, decoders and the last layer, in the order in which they run."""

    def inside(level: nn.Module) -> Iterator[nn.Module]:
        if not isinstance(level, nn.UNetLevel):
            yield level
            return
        yield level.encode
        assert isinstance(level.inner, nn.Sequential)
        yield from inside(level.inner.layers[0])
        yield level.decode

    assert isinstance(model, nn.Mask) and isinstance(model.inner, nn.Sequential)
    yield from inside(model.inner.layers[0])
    yield model


def shapes_of_blocks(model: nn.Module, x: Tensor) -> list[tuple[int, ...]]:
    """What every block puts out, without the batch."""
    seen: list[tuple[int, ...]] = []

    def noted(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            y = run(x)
            seen.append(tuple(y.shape[1:]))
            return y

        return call

    for block in blocks(model):
        block.forward = noted(block.forward)  # type: ignore[method-assign]
        block.overwrite = noted(block.overwrite)  # type: ignore[method-assign]
    model(x)
    return seen


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("version", ["v2", "v4"])
def test_shapes_of_every_block(version: str, size: str) -> None:
    """On the meta device: shapes without numbers."""
    model = models.build(version, size).to("meta").eval()
    found = shapes_of_blocks(model, torch.empty(2, 1, 256, 256, device="meta"))
    parts = 4 if size == "small" else 1
    assert found == [(c // parts or 1, f, t) for c, f, t in SHAPES]


@pytest.mark.parametrize(
    ("version", "size"), [("v2", "small"), ("v3", "large"), ("v4", "large"), ("torch", "large")]
)
def test_default_sizes(version: str, size: str) -> None:
    assert models.VERSIONS[version].size == size


def activation_margin(twin: torch.nn.Module, x: Tensor) -> float:
    """How far the nearest activation stays from a kink, relative to the RMS of its layer.

    Nearer than rounding, float32 may sit on the other side of the kink than float64, where the
    derivative is another one. A kink of a ReLU is at 0; one of max-pooling lies where the two
    largest values of a window are equal (and not both cut off at 0).
    """
    margins: list[float] = []

    def of_rectifier(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        y = inputs[0]
        margins.append(float(y.abs().min() / y.square().mean().sqrt()))

    def of_pool(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        y = inputs[0]
        windows = y.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        largest = windows.topk(2, dim=-1).values
        gap = (largest[..., 0] - largest[..., 1])[largest[..., 0] > 0]
        margins.append(float(gap.min() / y.square().mean().sqrt()))

    handles = [
        module.register_forward_pre_hook(
            of_pool if isinstance(module, torch.nn.MaxPool2d) else of_rectifier
        )
        for module in twin.modules()
        if isinstance(module, torch.nn.MaxPool2d | torch.nn.ReLU | torch.nn.LeakyReLU)
    ]
    with torch.no_grad():
        twin(x)
    for handle in handles:
        handle.remove()
    return min(margins)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", ["v2", "v4"])
def test_output_and_gradients_of_the_whole_network(
    version: str, dtype: torch.dtype, kernels: str
) -> None:
    torch.manual_seed(1)
    model = models.build(version, "small", kernels).to(dtype=dtype)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # they start at zero, where a mistake would not show
            parameter.data.normal_(0, 0.1)
    twin = build_twin(version, "small").double()
    twin.load_state_dict(model.state_dict())
    for seed in range(200):
        x = random_tensor((1, 1, 32, 64), dtype, seed).abs()
        if activation_margin(twin, x.double()) > 3e-6:
            break
    else:
        pytest.fail("every input has an activation next to a kink")
    assert_parity(model, twin, x)


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("version", [*SCRATCH, "torch"])
def test_same_keys_and_shapes_as_the_twin(version: str, size: str) -> None:
    plan, widths = models.VERSIONS[version].plan, models.WIDTHS[size]
    from audio_denoising.models import twin as twins
    from audio_denoising.models import unet

    with torch.device("meta"):
        twin = unet.assemble(twins.LAYERS, plan, widths).state_dict()
        model = unet.assemble(nn, plan, widths).state_dict()
    assert [(n, t.shape) for n, t in model.items()] == [(n, t.shape) for n, t in twin.items()]


@pytest.mark.parametrize("version", [*SCRATCH, "torch"])
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


def test_a_checkpoint_of_another_version_or_size_is_refused_whole() -> None:
    model = models.build("v4", "small")
    before = model.state_dict()
    with pytest.raises(KeyError, match="names that only one side has"):
        model.load_state_dict(models.build("v2", "small").state_dict())
    with torch.device("meta"):
        large = models.build("v4", "large").state_dict()
    with pytest.raises(ValueError, match="0.encode.0.weight is"):
        model.load_state_dict(large)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_unknown_names_are_refused() -> None:
    for arguments in (("v9", "small"), ("v4", "medium"), ("v4", "base")):
        with pytest.raises(KeyError):
            models.build(*arguments)
    with pytest.raises(ValueError, match="unknown kernels 'fastest'"):
        models.build("v4", "small", "fastest")


def test_no_pixel_gets_brighter_and_a_batch_changes_nothing() -> None:
    model = models.build("v4", "small").eval()
    x = random_tensor((3, 1, 64, 96), torch.float32, 1).abs()
    with torch.inference_mode():
        y = model(x)
        alone = torch.cat([model(one[None]) for one in x])
    assert y.shape == x.shape
    assert bool((y >= 0).all()) and bool((y <= x).all())
    torch.testing.assert_close(y, alone)


@pytest.mark.parametrize("version", [*SCRATCH, "torch"])
def test_an_untrained_network_changes_little(version: str) -> None:
    """It starts as an even mask near 0.9, from where training is not lost on the flat sigmoid."""
    x = random_tensor((2, 1, 64, 64), torch.float32, 1).abs()
    model = build_twin(version, "small") if version == "torch" else models.build(version, "small")
    with torch.inference_mode():
        mask = model.eval()(x) / x
    assert float(mask.mean()) == pytest.approx(0.9, abs=0.05)
    assert float(mask.std()) < 0.1
