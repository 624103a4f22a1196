"""Twenty training steps on real audio: our engine and torch, from the same weights on the same
batches, have the same losses all the way.

The learning rate warms up, as in real training. Rounding errors grow with every step, the more so
the more is learned: over four seeds and both kernels the losses of v4 ended between 2e-7 and 3e-5
from torch's. Without the warm-up torch's own float32 losses were up to 1e-4 away from its float64
ones by step twenty, and no engine could be held to less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audio_denoising import models, nn
from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.dsp.compressed_spectrum import CompressedSpectrumLoss, hear
from audio_denoising.dsp.spectrum import SEGMENT, image, stft
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.library import load_bank
from audio_denoising.mixing.recipe import PRESETS
from audio_denoising.models.twin import build_twin, spectrum_loss

CORPUS = Path(__file__).parents[1] / "data"
STEPS = 20
FRAMES = slice(96, 160)  # of 256: a quarter of the work, and rarely the padding of short speech
DECAY = 0.01
# SGD at the original's 1e-4 and 1e-3 would hardly move in twenty steps, and prove little.
RATES = {"v2": 1.0, "v4": 1e-4, "v5": 1.5e-3}
CLIPS = {"v2": 1.0, "v4": 1.0, "v5": 3.0}


@lru_cache(maxsize=1)
def real_mixtures() -> list[tuple[Tensor, Tensor]]:
    """Noisy and clean waveforms, two a batch, of the corpus in tests/data."""
    speech, noise = index_speech(CORPUS / "LibriSpeech"), index_noise(CORPUS / "noise")
    mixer = Mixer(load_bank(speech), load_bank(noise), PRESETS["original"], seed=0)
    return [mixer.batch(step, 2, SEGMENT) for step in range(STEPS)]


def inputs_and_targets(version: str) -> Iterator[tuple[Any, Tensor]]:
    """Images (2, 1, 256, 64), or of v5 what it hears of 48 hops, and the clean waveform."""
    for noisy, clean in real_mixtures():
        if version == "v5":
            noisy, clean = (waves[:, 8000 : 8000 + 48 * 256] for waves in (noisy, clean))
            yield (hear(noisy, HalfOverlap()), noisy), clean
        else:
            yield tuple(image(stft(waves))[:, None, :, FRAMES] for waves in (noisy, clean))


@pytest.fixture(autouse=True)
def flush_denormals() -> Iterator[None]:
    """As training does: numbers below 1e-38 would make every step several times slower."""
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


def losses_of_ours(version: str, trains: bool = True) -> list[float]:
    """The loss before each step of our engine, or of the first weights."""
    torch.manual_seed(2)
    model, rate = models.build(version, "small"), RATES[version]
    parameters = model.parameters()
    matrices = [p for p in parameters if p.data.dim() > 1]
    loss, optimiser = {
        "v2": lambda: (nn.MSELoss(), nn.SGD(parameters, rate, momentum=0.9)),
        "v4": lambda: (nn.L1Loss(), nn.Adam(parameters, rate)),
        "v5": lambda: (
            CompressedSpectrumLoss(HalfOverlap()),
            nn.Adam(parameters, rate, weight_decay=DECAY, decoupled=True, decayed=matrices),
        ),
    }[version]()
    schedule = nn.Schedule(warmup_steps=STEPS)
    losses = []
    with torch.inference_mode():
        for step, (heard, clean) in enumerate(inputs_and_targets(version)):
            optimiser.learning_rate = rate * schedule.factor(step)
            optimiser.zero_grad()
            if version == "v5":
                spectra, _ = heard
                value = loss(model(spectra.features), spectra, clean)
            else:
                value = loss(model(heard), clean)
            losses.append(float(value))
            if trains:
                model.backward(loss.backward())
                nn.clip_gradient_norm(parameters, CLIPS[version])
                optimiser.step()
    return losses


def losses_of_torch(version: str) -> list[float]:
    """The loss before each step of the twin with autograd and torch.optim."""
    torch.manual_seed(2)
    twin, rate = build_twin(version, "small"), RATES[version]
    matrices, others = ([p for p in twin.parameters() if (p.dim() > 1) == w] for w in (True, False))
    groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    makes: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "v2": lambda: torch.optim.SGD(twin.parameters(), rate, momentum=0.9),
        "v4": lambda: torch.optim.Adam(twin.parameters(), rate),
        "v5": lambda: torch.optim.AdamW(groups, rate, weight_decay=DECAY),
    }
    optimiser = makes[version]()
    criterion = torch.nn.MSELoss() if version == "v2" else torch.nn.L1Loss()
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / STEPS, total_iters=STEPS - 1)
    losses = []
    for heard, clean in inputs_and_targets(version):
        optimiser.zero_grad()
        if version == "v5":
            spectra, noisy = heard
            value = spectrum_loss(twin(spectra.features), noisy, clean)
        else:
            value = criterion(twin(heard), clean)
        losses.append(value.item())
        value.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), CLIPS[version])
        optimiser.step()
        schedule.step()
    return losses


@pytest.mark.parametrize("version", RATES)
def test_twenty_steps_have_the_losses_of_torch(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The U-Nets half as wide as they ship, still with channels enough for Winograd's way."""
    monkeypatch.setitem(models.WIDTHS, "small", (8, 16, 32, 64, 128))
    expected, found = losses_of_torch(version), losses_of_ours(version)
    assert len(found) == STEPS
    assert found == pytest.approx(expected, rel=1e-4)
    untrained = losses_of_ours(version, trains=False)
    assert found[0] == untrained[0]
    least = 0.1 if version == "v5" else 5e-4 * sum(untrained[-4:])
    assert sum(found[-4:]) < sum(untrained[-4:]) - least  # the steps did learn something


def test_the_batches_are_real_and_differ() -> None:
    noisy, clean = next(inputs_and_targets("v4"))
    assert noisy.shape == clean.shape == (2, 1, 256, 64)
    assert float(noisy.std()) > 0.05 and float(clean.std()) > 0.05
    assert float((noisy - clean).abs().mean()) > 0.01
    assert not torch.equal(real_mixtures()[0][0], real_mixtures()[1][0])
