"""Which voices are taken for noise: high ones, as a child's or a raised one, or a telephone's.

python -m benchmarks.voices --speech DIR --noise DIR [--count 24] [--cache DIR] [--json FILE]

Voices that training keeps for validation are read faster, and so higher, or lose what a telephone
does not pass (300 to 3,400 Hz), and are mixed with its noises at 10 dB; v5 and the denoisers of
others clean them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.dsp.frames import HOP
from audio_denoising.dsp.measures import si_sdr
from audio_denoising.evaluation.judging import candidates
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.recipe import Recipe
from audio_denoising.samples import Samples
from audio_denoising.training.material import Material
from audio_denoising.training.options import TrainingOptions
from benchmarks.measuring import describe_machine, markdown_table, report
from benchmarks.v5_ablation import JUDGED, asking_for_corpora, place

SAMPLES = 249 * HOP  # 4 s
PLAIN = replace(JUDGED, snr=(10.0, 10.0), babble=0.0, cutoff=(3400.0, 3400.0), rise=(300.0, 300.0))


def raised(factor: float) -> Recipe:
    """The recipe of voices so many times as fast and high."""
    return replace(PLAIN, speed=1.0, speech_speed=(factor, factor), noise_speed=(1.0, 1.0))


VOICES = {
    "as they are": PLAIN,
    **{f"{factor:g} times as high": raised(factor) for factor in (1.25, 1.5, 1.75)},
    "by telephone": replace(PLAIN, low_pass=1.0, high_pass=1.0),
}


def mixtures(material: Material, recipe: Recipe, count: int) -> Iterator[tuple[Samples, Samples]]:
    """Noisy and clean waveforms, the same every time but for what the recipe does to them."""
    mixer = Mixer(material.judged.speech, material.judged.noise, recipe, 4321, None)
    noisy, clean = mixer.batch(0, count, SAMPLES)
    yield from zip(noisy.numpy(), clean.numpy(), strict=True)


def kinds_table(results: Mapping[str, Any]) -> str:
    """Mean and lowest SI-SDR of every candidate for all kinds of voices."""
    rows = [
        [name, *(f"{np.mean(found):.1f} ({min(found):.1f})" for found in by_kind)]
        for name, by_kind in results["si_sdr"].items()
    ]
    return markdown_table(["SI-SDR, dB", *VOICES], rows)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = asking_for_corpora(__doc__)
    parser.add_argument("--count", type=int, default=24, help="mixtures of each kind")
    given = parser.parse_args(arguments)
    material = Material(TrainingOptions("v5", seed=1), place(given))
    pairs = [list(mixtures(material, recipe, given.count)) for recipe in VOICES.values()]
    found = {}
    for each in candidates(["v5"], peers=True):
        clean = each.build()
        found[each.title] = [
            [si_sdr(clean(noisy, SAMPLE_RATE), reference) for noisy, reference in kind]
            for kind in pairs
        ]
    results = {"machine": describe_machine(), "count": given.count, "si_sdr": found}
    report(results, given.json, kinds_table(results))


if __name__ == "__main__":
    main()
