"""v5's whole network against its twin in torch.nn: gradients, weights, folding, and training.

Twenty training steps on real audio start from the same weights and see the same batches: features,
network, loss, backward pass, clipping and AdamW with its decay on matrices alone, by our engine and
by torch. The losses are the same all the way.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.dsp.compressed_spectrum import CompressedSpectrumLoss, hear
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.library import load_bank
from audio_denoising.mixing.recipe import PRESETS
from audio_denoising.models.causal import SIZES, build, overlapping_triangles
from audio_denoising.models.causal_frames import FrameNetwork
from audio_denoising.models.twin import build_twin, spectrum_loss
from audio_denoising.nn import folded, gradient_check
from tests.nn.parity import (
    assert_parity,
    gradients_of,
    random_tensor,
    randomise,
    relative_error,
)

CORPUS = Path(__file__).parents[1] / "data"
STEPS = 20
RATE, DECAY, CLIP = 1.5e-3, 0.01, 3.0


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
    ("size", "frames", "clips"),
    [("small", 1, 1), ("small", 7, 1), ("small", 3, 2), ("base", 4, 2), ("large", 3, 1)],
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
@pytest.mark.parametrize("size", SIZES)
def test_a_folded_network_is_the_network_in_evaluation_mode(size: str, dtype: torch.dtype) -> None:
    network = random_network(size, dtype)
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


@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_frame_by_frame_it_is_the_same_network(size: str, signals: int) -> None:
    """States come from, and go to, its recurrent layers: a long pass may come before and after."""
    network = folded(random_network(size, torch.float32))
    x = features(9, signals, torch.float32)
    recurrent = [layer for layer in network.modules() if isinstance(layer, nn.GRU)]

    def states_go_on() -> None:
        for layer in recurrent:
            layer.first_state = layer.last_state

    with torch.inference_mode():
        whole = network(x)
        parts = [network(x[:3])]
        states_go_on()
        live = FrameNetwork(network, signals)
        for frame in x[3:7].split(1):
            parts.append(live(frame).clone())
            states_go_on()
        parts.append(network(x[7:]))
    assert relative_error(torch.cat(parts), whole) < 1e-5


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


@pytest.mark.parametrize("shape", [(3, 2, 64, 11), (3, 2, 63, 12), (12,)], ids=str)
def test_a_wrong_shape_gets_one_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^\w+ takes \(.*\) and got \(.*\)$"):
        build("small")(torch.zeros(shape))


@lru_cache(maxsize=1)
def real_batches() -> list[tuple[Tensor, Tensor]]:
    """Noisy and clean waveforms (2, 48 hops) of the corpus in tests/data."""
    speech, noise = index_speech(CORPUS / "LibriSpeech"), index_noise(CORPUS / "noise")
    mixer = Mixer(load_bank(speech), load_bank(noise), PRESETS["original"], seed=0)
    return [mixer.batch(step, 2, 48 * 256) for step in range(STEPS)]


def test_gradients_of_the_loss_at_every_weight() -> None:
    """Sound in, gradients out: features, network and loss together, on real audio."""
    ours, theirs = random_network(), build_twin("v5", "small").double()
    theirs.load_state_dict(ours.state_dict())
    noisy, clean = (wave.double() for wave in real_batches()[0])
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


def losses_of_ours(trains: bool = True) -> list[float]:
    """The loss before each step of our engine, or of the first weights."""
    torch.manual_seed(2)
    network, transform = build("small"), HalfOverlap()
    loss = CompressedSpectrumLoss(transform)
    matrices = [p for p in network.parameters() if p.data.dim() > 1]
    optimiser = nn.Adam(
        network.parameters(), RATE, weight_decay=DECAY, decoupled=True, decayed=matrices
    )
    schedule = nn.Schedule(warmup_steps=STEPS)
    losses = []
    with torch.inference_mode():
        for step, (noisy, clean) in enumerate(real_batches()):
            optimiser.learning_rate = RATE * schedule.factor(step)
            optimiser.zero_grad()
            heard = hear(noisy, transform)
            losses.append(float(loss(network(heard.features), heard, clean)))
            if trains:
                network.backward(loss.backward())
                nn.clip_gradient_norm(network.parameters(), CLIP)
                optimiser.step()
    return losses


def losses_of_torch() -> list[float]:
    """The loss before each step of the twin with autograd and torch.optim."""
    torch.manual_seed(2)
    twin, transform = build_twin("v5", "small"), HalfOverlap()
    matrices, others = ([p for p in twin.parameters() if (p.dim() > 1) == w] for w in (True, False))
    groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / STEPS, total_iters=STEPS - 1)
    losses = []
    for noisy, clean in real_batches():
        optimiser.zero_grad()
        value = spectrum_loss(twin(hear(noisy, transform).features), noisy, clean)
        losses.append(value.item())
        value.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), CLIP)
        optimiser.step()
        schedule.step()
    return losses


def test_twenty_steps_have_the_losses_of_torch() -> None:
    expected, found, untrained = losses_of_torch(), losses_of_ours(), losses_of_ours(trains=False)
    assert len(found) == STEPS
    assert found == pytest.approx(expected, rel=1e-4)
    assert found[0] == untrained[0]
    assert sum(found[-4:]) < sum(untrained[-4:]) - 0.1  # the steps did learn something
