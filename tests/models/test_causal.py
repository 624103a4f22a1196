"""v5's whole network against its twin in torch.nn: gradients, weights, and folding."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.dsp.compressed_spectrum import CompressedSpectrumLoss, hear
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.models import causal_weights
from audio_denoising.models.causal import SIZES
from audio_denoising.models.causal_frames import SMALLEST, FrameNetwork
from audio_denoising.models.causal_start import build, overlapping_triangles
from audio_denoising.models.shapes import shapes
from audio_denoising.models.twin import build_twin, spectrum_loss
from audio_denoising.nn import activations, folded, gradient_check
from tests.nn.parity import assert_parity, gradients_of, random_tensor, randomise, relative_error


def features(frames: int, clips: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return random_tensor((frames, clips, 64, 12), dtype, 1)


def random_network(size: str = "small", dtype: torch.dtype = torch.float64) -> nn.Module:
    """With all parameters drawn at random, and running averages of four batches."""
    network = build(size)
    randomise(network, dtype, seed=6)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm):
            layer.weight.data += 1
    with torch.inference_mode():
        for seed in range(4):
            network(random_tensor((6, 2, 64, 12), dtype, seed))
    return network


@pytest.mark.parametrize(
    ("size", "frames", "clips"), [("small", 1, 1), ("small", 3, 2), ("base", 4, 2)]
)
def test_gradients_of_the_whole_network(size: str, frames: int, clips: int) -> None:
    assert_parity(random_network(size), build_twin("v5", size), features(frames, clips))


def test_gradients_of_the_whole_network_in_single_precision() -> None:
    ours = random_network("base", torch.float32)
    assert_parity(ours, build_twin("v5", "base"), features(20, 2, torch.float32))


def test_the_whole_network_against_finite_differences() -> None:
    with torch.inference_mode():
        found = gradient_check(random_network(), features(3, 2), entries=2)
    assert len(found) == len(random_network().parameters())
    assert max(found.values()) < 1e-4, found


@pytest.mark.parametrize("size", SIZES)
def test_weights_go_both_ways(size: str) -> None:
    ours, theirs = random_network(size, torch.float32), build_twin("v5", size)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    shapes = [{k: v.shape for k, v in each.state_dict().items()} for each in (ours, theirs)]
    assert shapes[0] == shapes[1]
    x = features(6, 2, torch.float32)
    theirs.load_state_dict(ours.state_dict())
    again = build(size)
    again.load_state_dict(theirs.state_dict())
    with torch.inference_mode():
        for mode in (True, False):
            expected = theirs.train(mode)(x)
            for network in (ours, again):
                assert relative_error(network.train(mode)(x), expected) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_folded_network_is_the_network_in_evaluation_mode(dtype: torch.dtype) -> None:
    network = random_network("small", dtype)
    with torch.inference_mode():
        fast = folded(network)
        assert not any(isinstance(layer, nn.BatchNorm) for layer in fast.modules())
        found, expected = fast(features(6, 2, dtype)), network.eval()(features(6, 2, dtype))
    assert relative_error(found, expected) < (1e-6 if dtype == torch.float32 else 1e-12)


def test_no_frame_hears_a_later_one_and_states_carry_on() -> None:
    network, x = random_network().eval(), features(9, 2)
    with torch.inference_mode():
        whole = network(x)
        other = x.clone()
        other[6:] = 0
        torch.testing.assert_close(network(other)[:6], whole[:6], rtol=1e-9, atol=1e-12)
        parts = []
        for part in x.split([1, 5, 3]):
            parts.append(network(part))
            for layer in network.modules():
                if isinstance(layer, nn.GRU):
                    layer.first_state = layer.last_state
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_without_torch_names_shapes_and_folded_weights_are_those_of_the_engine(size: str) -> None:
    network = random_network(size, torch.float32)
    state = network.state_dict()
    assert shapes("v5", size) == {name: tuple(value.shape) for name, value in state.items()}
    # Behind a normalisation that is gone the engine numbers layers anew: names are not compared.
    left = causal_weights.folded(network.state_dict()).values()
    engine = folded(network).state_dict().values()
    assert Counter(own.tobytes() for own in left) == Counter(e.numpy().tobytes() for e in engine)
    assert SMALLEST == activations.SMALLEST


@pytest.mark.parametrize("size", SIZES)
def test_frame_by_frame_it_is_the_same_network(size: str) -> None:
    network = random_network(size, torch.float32).eval()
    x = features(9, 1, torch.float32)
    with torch.inference_mode():
        whole = network(x)[:, 0]
    live = FrameNetwork(causal_weights.folded(network.state_dict()))
    for _ in range(2):
        parts = []
        for frame in x[:, 0].numpy():
            live.features[:] = frame
            live.answer()
            parts.append(torch.from_numpy(live.mask.view(np.float32).reshape(64, 8).copy()))
            np.testing.assert_allclose(live.modulus, np.abs(live.mask), atol=1e-6)
        assert relative_error(torch.stack(parts), whole) < 1e-5
        for state in live.states:  # the next signal
            state[:] = 0


@pytest.mark.parametrize("size", SIZES)
def test_training_starts_close_to_changing_nothing(size: str) -> None:
    torch.manual_seed(1)
    mask = build(size)(features(20, 2, torch.float32)).unflatten(-1, (4, 2))
    start = torch.tensor([1.0, 0.0]).tanh()
    assert float((mask.mean((0, 1, 2, 3)) - start).abs().max()) < 0.05
    assert float((mask - start).abs().mean()) < 0.1


@pytest.mark.parametrize("bands", [24, 32])
def test_bands_are_overlapping_triangles(bands: int) -> None:
    triangles = overlapping_triangles(64, bands)
    assert triangles.shape == (bands, 64)
    single = bands // 3
    assert torch.equal(triangles[:single, :single], torch.eye(single))
    torch.testing.assert_close(triangles.sum(0), torch.ones(64))  # no position counts more


def test_gradients_of_the_loss_at_every_weight() -> None:
    """Sound in, gradients out: features, network and loss together."""
    ours, theirs = random_network(), build_twin("v5", "small").double()
    theirs.load_state_dict(ours.state_dict())
    clean, noise = (0.1 * random_tensor((2, 12 * 256), torch.float64, seed) for seed in (1, 2))
    noisy = clean + noise
    transform = HalfOverlap(dtype=torch.float64)
    with torch.inference_mode():
        heard = hear(noisy, transform)
        loss = CompressedSpectrumLoss(transform)
        value = loss(ours(heard.features), heard, clean)
        ours.backward(loss.backward())
    expected = spectrum_loss(theirs(heard.features.clone()), noisy, clean)
    expected.backward()
    assert relative_error(value, expected) < 1e-10
    truth = gradients_of(theirs)
    errors = {name: relative_error(g, truth[name]) for name, g in gradients_of(ours).items()}
    assert max(errors.values()) < 1e-8, errors
