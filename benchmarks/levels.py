"""What a recording's level, or a change of it, does to those who clean it.

python -m benchmarks.levels --speech DIR --noise DIR [--count 24] [--json FILE]

Mixtures of noisy speech from the frozen lists, equally far apart, are brought to an RMS of -50 to
-10 dB re full scale (as floats: none is clipped) and cleaned. Then each is cleaned behind a copy of
itself that is 30 dB louder, as after another talker; from 0.1 s on, its SI-SDR is measured.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.dsp.measures import si_sdr
from audio_denoising.evaluation.frozen_lists import items_of_all_lists
from audio_denoising.evaluation.judging import Cleaner, candidates
from audio_denoising.evaluation.testset import Loaded
from benchmarks.measuring import describe_machine, markdown_table, report

LEVELS = (-50, -40, -30, -20, -10)  # dB re full scale, RMS
LOUDER = 30  # dB


def mixtures(speech: Path, noise: Path, count: int) -> list[Loaded]:
    """Clean and noisy waveforms of mixtures with noise."""
    with tempfile.TemporaryDirectory() as workshop:
        items, _ = items_of_all_lists(index_speech(speech), index_noise(noise), Path(workshop))
        noisy = [item for item in items if item.snr_db is not None]
        places = np.linspace(0, len(noisy) - 1, count).round().astype(int)
        return [noisy[place].source.load() for place in places]


def measure(clean: Cleaner, loaded: Loaded) -> list[float]:
    """SI-SDR in dB at each of `LEVELS`, and behind what is louder."""
    reference, noisy, rate = loaded
    to_full_scale = noisy / np.sqrt(np.mean(noisy.astype(np.float64) ** 2))
    sounds = [(to_full_scale * 10 ** (level / 20)).astype(np.float32) for level in LEVELS]
    loud = sounds[-1]
    faint = loud * np.float32(10 ** (-LOUDER / 20))
    found = [si_sdr(clean(sound, rate), reference) for sound in sounds]
    behind = clean(np.concatenate((loud, faint)), rate)[len(noisy) :]
    later = slice(rate // 10, None)
    return [*found, si_sdr(behind[later], reference[later])]


def level_table(results: Mapping[str, Any]) -> str:
    """Means, and the most that one recording differs by from one level to another."""
    rows = []
    for name, measured in results["si_sdr"].items():
        values = np.array(measured)
        most = np.ptp(values[:, : len(LEVELS)], axis=1).max()
        rows.append([name, *(f"{mean:.1f}" for mean in values.mean(axis=0)), f"{most:.1f}"])
    levels = [f"{level} dB" for level in LEVELS]
    return markdown_table(
        ["SI-SDR, dB", *levels, f"{LOUDER} dB below what was before", "a recording's range"], rows
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--count", type=int, default=24, help="mixtures")
    parser.add_argument("--json", type=Path, help="where to write the results")
    given = parser.parse_args(arguments)
    loaded = mixtures(given.speech, given.noise, given.count)
    found = {}
    for each in candidates(["v5"], peers=True):
        clean = each.build()
        found[each.title] = [measure(clean, pair) for pair in loaded]
    results = {"machine": describe_machine(), "count": given.count, "si_sdr": found}
    report(results, given.json, level_table(results))


if __name__ == "__main__":
    main()
