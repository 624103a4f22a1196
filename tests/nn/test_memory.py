"""The buffer pool: no buffer may serve two living tensors, and no two threads may share one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.nn import memory
from tests.nn.parity import KERNELS, random_tensor, randomise

LARGE = memory.SMALL // 4  # float32 values of the smallest pooled buffer
LIKE = torch.empty(0)


def overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors stand on the same memory."""
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


@pytest.fixture(autouse=True)
def own_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool without the buffers of other tests."""
    monkeypatch.setattr(memory, "_local", type(memory._local)())


def test_living_tensors_never_share_a_buffer() -> None:
    alive = [memory.empty((LARGE,), LIKE) for _ in range(4)]
    for i, tensor in enumerate(alive):
        tensor.fill_(i)
    assert [float(t.mean()) for t in alive] == [0.0, 1.0, 2.0, 3.0]
    assert not any(overlap(a, b) for i, a in enumerate(alive) for b in alive[:i])


@pytest.mark.parametrize("count", [LARGE, 5 * LARGE // 4])
def test_a_buffer_is_used_again_once_nobody_holds_it(count: int) -> None:
    first = memory.empty((5 * LARGE // 4,), LIKE)
    address = first.data_ptr()
    del first
    assert memory.empty((count,), LIKE).data_ptr() == address


def test_a_view_keeps_its_buffer() -> None:
    for view_of in (
        lambda t: t[1:],
        lambda t: t.view(torch.int32),
        lambda t: t.numpy(),
        lambda t: [t.split(100)[3]],
    ):
        first = memory.empty((LARGE,), LIKE)
        address = first.data_ptr()
        view = view_of(first)  # type: ignore[no-untyped-call]
        del first
        assert memory.empty((LARGE,), LIKE).data_ptr() != address
        del view
        assert memory.empty((LARGE,), LIKE).data_ptr() == address


def test_sizes_that_nobody_asks_for_any_more_are_forgotten() -> None:
    memory.empty((100 * LARGE,), LIKE)
    for factor in range(60):  # of sizes that differ too much to serve each other
        memory.empty((LARGE * (2 + 5 * (factor % 2)),), LIKE)
    assert sum(storage.nbytes() for storage in memory._local.pool) < 20 * memory.SMALL


def large_layer(kernels: str = "fast") -> nn.Module:
    """Two convolutions whose images are large enough for the pool."""
    layer = nn.Sequential(
        nn.Conv2d(2, 16, 3, 1, 1), nn.LeakyReLU(0.2), nn.ConvTranspose2d(16, 8, 2, 2)
    )
    for convolution in (layer.layers[0], layer.layers[2]):
        convolution.use_kernels(kernels)
    randomise(layer, torch.float32, seed=1)
    return layer


def image(seed: int) -> Tensor:
    """(1, 2, 64, 72)."""
    return random_tensor((1, 2, 64, 72), torch.float32, seed)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("training", [True, False])
def test_results_of_two_passes_do_not_share_memory(training: bool, kernels: str) -> None:
    layer = large_layer(kernels).train(training)
    with torch.inference_mode():
        first = layer(image(1))
        kept = first.clone()
        second = layer(image(2))
        assert not overlap(first, second)
        assert torch.equal(first, kept)
        if training:
            grad = layer.backward(torch.ones_like(second))
            kept_grad = grad.clone()
            third = layer(image(3))
            layer.backward(torch.ones_like(third))
            assert torch.equal(grad, kept_grad)
            assert torch.equal(first, kept)


def test_threads_compute_what_one_thread_computes() -> None:
    def passes(seed: int) -> list[Tensor]:
        layer = large_layer()
        results = []
        for i in range(5):
            y = layer(image(seed + i))
            results += [y, layer.backward(torch.full_like(y, 0.5))]
        return results + [p.grad for p in layer.parameters()]

    expected = [passes(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        for found, wanted in zip(pool.map(passes, range(3)), expected, strict=True):
            for a, b in zip(found, wanted, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
