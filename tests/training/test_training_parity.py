"""Twenty training steps on real audio: our engine and torch, from the same weights on the same
batches, have the same losses all the way.

The learning rate warms up, as in real training. Rounding errors grow with every step, the more so
the more is learned: over four seeds and both kernels the losses of v4 ended between 2e-7 and 3e-5
from torch's. Without the warm-up torch's own float32 losses were up to 1e-4 away from its float64
ones by step twenty, and no engine could be held to less.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor

from audio_denoising import models
from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.dsp.spectrum import SEGMENT
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.library import load_bank
from audio_denoising.mixing.recipe import PRESETS
from audio_denoising.training.learner import Learner
from audio_denoising.training.learner_torch import TorchLearner
from tests.training.runs import NOISE, SPEECH, options

STEPS = 20
FRAMES = slice(96, 160)  # of 256: a quarter of the work, and rarely the padding of short speech
# SGD at the original's 1e-4 and 1e-3 would hardly move in twenty steps, and prove little.
RATES = {"v2": 1.0, "v4": 1e-4, "v5": 1.5e-3}


@lru_cache(maxsize=1)
def real_mixtures() -> list[tuple[Tensor, Tensor]]:
    """Noisy and clean waveforms, two a batch, of the corpus in tests/data."""
    banks = load_bank(index_speech(SPEECH)), load_bank(index_noise(NOISE))
    mixer = Mixer(*banks, PRESETS["original"], seed=0)
    return [mixer.batch(step, 2, SEGMENT) for step in range(STEPS)]


def losses(learner: Learner, version: str, rate: float, first: int = 0) -> list[float]:
    """The loss before each step from the first on, with a rate that rises to the one given."""
    found, hearing = [], learner.representation
    for step, (noisy, clean) in list(enumerate(real_mixtures()))[first:]:
        if version == "v5":
            noisy, clean = (waves[:, 8000 : 8000 + 24 * 256] for waves in (noisy, clean))
        heard, target = hearing.hear(noisy), hearing.target(clean)
        if version != "v5":
            heard, target = heard[..., FRAMES], target[..., FRAMES]
        found.append(float(learner.step(heard, target, rate * (step + 1) / STEPS).loss))
    return found


@pytest.mark.parametrize("version", RATES)
def test_twenty_steps_have_the_losses_of_torch(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The U-Nets half as wide as they ship, still with channels enough for Winograd's way."""
    monkeypatch.setitem(models.WIDTHS, "small", (8, 16, 32, 64, 128))
    torch.set_flush_denormal(True)  # as training does: they would make every step slower
    torch.manual_seed(2)
    chosen = options(version, momentum=0.9, clip_norm=3.0 if version == "v5" else 1.0)
    device = torch.device("cpu")
    ours, theirs = Learner(chosen, device), TorchLearner(chosen, device)
    idle = Learner(chosen, device)
    for other in (theirs, idle):
        other.model.load_state_dict(ours.model.state_dict())
    if version == "v2":
        theirs.optimiser = torch.optim.SGD(theirs.model.parameters(), 1.0, momentum=0.9)
    found, expected = (losses(each, version, RATES[version]) for each in (ours, theirs))
    untrained = losses(idle, version, 0.0, STEPS - 4)
    assert found == pytest.approx(expected, rel=1e-4)
    assert len(set(found)) == STEPS  # batches differ
    least = 0.1 if version == "v5" else 5e-4 * sum(untrained)
    assert sum(found[-4:]) < sum(untrained) - least  # the steps did learn something
