"""How high a voice may be until it is taken for noise, as a child's, or one that is raised.

python -m benchmarks.high_voices --speech DIR --noise DIR [--count 40] [--cache DIR] [--json FILE]

Voices that training keeps for validation are read faster, and so higher, and mixed with its noises
at 10 dB; v5 and the denoisers of others clean the same mixtures at every speed.
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
from audio_denoising.samples import Samples
from audio_denoising.training.material import Material
from audio_denoising.training.options import TrainingOptions
from benchmarks.measuring import describe_machine, markdown_table, report
from benchmarks.v5_ablation import JUDGED, asking_for_corpora, place

SPEEDS = (1.0, 1.25, 1.5, 1.75)
SAMPLES = 249 * HOP  # 4 s


def mixtures(material: Material, speed: float, count: int) -> Iterator[tuple[Samples, Samples]]:
    """Noisy and clean waveforms, but for the voices' speed the same every time."""
    raised = replace(JUDGED, snr=(10.0, 10.0), babble=0.0, speed=1.0)
    raised = replace(raised, speech_speed=(speed, speed), noise_speed=(1.0, 1.0))
    mixer = Mixer(material.judged.speech, material.judged.noise, raised, 4321, None)
    noisy, clean = mixer.batch(0, count, SAMPLES)
    yield from zip(noisy.numpy(), clean.numpy(), strict=True)


def high_voices_table(results: Mapping[str, Any]) -> str:
    """Mean and lowest SI-SDR of every candidate at every speed."""
    rows = [
        [name, *(f"{np.mean(found):.1f} ({min(found):.1f})" for found in by_speed)]
        for name, by_speed in results["si_sdr"].items()
    ]
    return markdown_table(["SI-SDR, dB", *(f"{speed:g} times" for speed in SPEEDS)], rows)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = asking_for_corpora(__doc__)
    parser.add_argument("--count", type=int, default=40, help="mixtures")
    given = parser.parse_args(arguments)
    material = Material(TrainingOptions("v5", seed=1), place(given))
    pairs = [list(mixtures(material, speed, given.count)) for speed in SPEEDS]
    found = {}
    for each in candidates(["v5"], peers=True):
        clean = each.build()
        found[each.title] = [
            [si_sdr(clean(noisy, SAMPLE_RATE), reference) for noisy, reference in same]
            for same in pairs
        ]
    results = {"machine": describe_machine(), "count": given.count, "si_sdr": found}
    report(results, given.json, high_voices_table(results))


if __name__ == "__main__":
    main()
