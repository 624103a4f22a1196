"""How much of SI-SDR is decided by what nobody hears: rumble in recordings that count as clean.

python -m benchmarks.rumble --speech DIR --noise DIR [--json FILE]

v5 and the denoisers of others clean the frozen lists. SI-SDR is measured twice: of the whole, and
of what lies above 50 Hz, where the band of wide-band telephony begins (ITU-T G.722), in both.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.dsp.measures import si_sdr
from audio_denoising.evaluation.frozen_lists import CLEAN, items_of_all_lists
from audio_denoising.evaluation.judging import candidates
from audio_denoising.evaluation.scores import limited
from audio_denoising.evaluation.testset import Item
from audio_denoising.samples import Samples
from benchmarks.measuring import describe_machine, markdown_table, report

LOWEST = 50.0  # Hz


def above(signal: Samples, rate: int) -> NDArray[np.float64]:
    """A signal ``(L,)`` without anything below `LOWEST`."""
    spectrum = np.fft.rfft(signal.astype(np.float64))
    spectrum[np.fft.rfftfreq(signal.size, 1 / rate) < LOWEST] = 0
    return np.fft.irfft(spectrum, signal.size)


def ratios(estimate: Samples, reference: Samples, rate: int) -> list[float]:
    """SI-SDR in dB of the whole, and of what lies above `LOWEST`."""
    both = (estimate, reference), (above(estimate, rate), above(reference, rate))
    return [limited(si_sdr(*pair)) for pair in both]


def share_below(reference: Samples, rate: int) -> float:
    """How much of a recording's energy lies below `LOWEST`, from 0 to 1."""
    kept = np.square(above(reference, rate)).sum()
    return float(1 - kept / np.square(reference, dtype=np.float64).sum())


def measure(items: Sequence[Item]) -> dict[str, Any]:
    """Part, share below `LOWEST` and the two ratios of every candidate, item by item."""
    loaded = [item.source.load() for item in items]
    found = {}
    for each in candidates(["v5"], peers=True):
        clean = each.build()
        found[each.title] = [ratios(clean(n, rate), s, rate) for s, n, rate in loaded]
    return {
        "parts": [item.part for item in items],
        "shares": [share_below(reference, rate) for reference, _, rate in loaded],
        "si_sdr": found,
    }


def rumble_table(results: Mapping[str, Any]) -> str:
    """Means over each part of the lists, of the whole and above `LOWEST`."""
    parts, shares = np.array(results["parts"]), np.array(results["shares"])
    measured = {name: np.array(rows) for name, rows in results["si_sdr"].items()}
    rows = []
    for part in dict.fromkeys(results["parts"]):
        here = parts == part
        means = [rows[here].mean(0) for rows in measured.values()]
        rows.append([part, f"{100 * shares[here].max():.0f} %", *map(_shown, means)])
    lowest = [rows[parts == CLEAN].min(0) for rows in measured.values()]
    rows.append([f"{CLEAN}, lowest", "", *map(_shown, lowest)])
    return markdown_table(["SI-SDR, dB", "most below 50 Hz", *measured], rows)


def _shown(pair: Sequence[float]) -> str:
    return f"{pair[0]:.1f}, {pair[1]:.1f}"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="where to write the results")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as workshop:
        corpora = index_speech(given.speech), index_noise(given.noise)
        items, _ = items_of_all_lists(*corpora, Path(workshop))
        found = measure(items)
    results = {"machine": describe_machine(), **found}
    report(results, given.json, rumble_table(results))


if __name__ == "__main__":
    main()
