"""Why recordings are brought to one level before the network sees them, and to which.

python -m benchmarks.level --speech DIR --noise DIR [--model v4] [--json FILE]

Cleans mixtures of the validation split (never of the test list) at several recording levels, once
as they are and once brought to each of several target levels; prints the mean SI-SDR, and that of
clean speech sent through. `audio_denoising.dsp.level.TARGET_DB` is chosen by this table, and so on
validation data.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track

from audio_denoising.cleaning.stream import StreamCleaner
from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.corpora.splits import split
from audio_denoising.dsp.level import ActiveLevel
from audio_denoising.dsp.measures import si_sdr
from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.mixing.mixing import mix, read_segment
from audio_denoising.models.checkpoint import build_model, load_checkpoint, shipped
from benchmarks import results_file
from benchmarks.machine import describe_machine
from benchmarks.markdown import markdown_table

TARGETS_DB = (None, -32.0, -26.0, -20.0, -14.0)  # None: as recorded
SHIFTS_DB = (0.0, -15.0, -30.0)
SNRS_DB = (0.0, 5.0, 10.0, 15.0)
MIXTURES = 24
SECONDS = 8

Waveform = npt.NDArray[np.float32]


class Towards(ActiveLevel):
    """A level with a target of its own; None leaves the recording as it is."""

    def __init__(self, target_db: float | None) -> None:
        super().__init__(SAMPLE_RATE)
        self.target_db = target_db

    def gains(self) -> npt.NDArray[np.float32]:
        """Linear gain of every channel."""
        if self.target_db is None:
            return np.ones(len(self.decibels()), np.float32)
        return (10 ** ((self.target_db - self.decibels()) / 20)).astype(np.float32)


def mixtures(speech: str, noise: str) -> list[tuple[Waveform, Waveform]]:
    """(clean, noisy) of validation speakers and validation noise, always the same ones."""
    validation = split(index_speech(speech), index_noise(noise)).validation
    random = np.random.default_rng(5)
    pairs = []
    for index in range(MIXTURES):
        voice = validation.speech[int(random.integers(len(validation.speech)))]
        sound = validation.noise[int(random.integers(len(validation.noise)))]
        clean = read_segment(voice, 0, SECONDS * SAMPLE_RATE)
        added = np.resize(read_segment(sound, 0, SECONDS * SAMPLE_RATE), clean.shape)
        pairs.append(mix(clean, added, SNRS_DB[index % len(SNRS_DB)]))
    return pairs


def cleaned(cleaner: StreamCleaner, noisy: Waveform, target_db: float | None) -> Waveform:
    """The recording ``(L,)`` cleaned at a target level."""
    level = Towards(target_db)
    level.add(noisy[None])
    parts = cleaner.stream([noisy[None]], SAMPLE_RATE, level, lambda done, total: None)
    return np.concatenate([clean for _, clean in parts], axis=1)[0]


def measure(cleaner: StreamCleaner, pairs: list[tuple[Waveform, Waveform]]) -> list[dict[str, Any]]:
    """Mean SI-SDR in dB for every target and recording level, and of clean speech sent through."""
    rows = []
    for target in track(TARGETS_DB, "targets", console=Console(stderr=True)):
        scores = {}
        for shift in SHIFTS_DB:
            factor = np.float32(10 ** (shift / 20))
            found = [
                si_sdr(cleaned(cleaner, noisy * factor, target), clean) for clean, noisy in pairs
            ]
            scores[f"{shift:g}"] = round(fmean(found), 3)
        through = fmean(si_sdr(cleaned(cleaner, clean, target), clean) for clean, _ in pairs)
        rows.append({"target_db": target, "si_sdr": scores, "clean": round(through, 3)})
    return rows


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    columns = ["level shown to the network", *(f"noisy, {s:g} dB" for s in SHIFTS_DB), "clean"]
    rows = [
        [
            "as recorded" if row["target_db"] is None else f"{row['target_db']:g} dBFS",
            *(f"{score:.1f}" for score in (*row["si_sdr"].values(), row["clean"])),
        ]
        for row in results["rows"]
    ]
    return markdown_table(columns, rows)


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the table, keeps the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", required=True, help="folder of speech, as in training")
    parser.add_argument("--noise", required=True, help="folder of noise, as in training")
    parser.add_argument("--model", default="v4", help="a shipped version")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args(arguments)
    model = build_model(load_checkpoint(shipped(given.model)), "cpu")
    cleaner = StreamCleaner(model, given.model, torch.device("cpu"), 8)
    pairs = mixtures(given.speech, given.noise)
    results = {
        "machine": describe_machine(),
        "model": given.model,
        "mixtures": len(pairs),
        "noisy_si_sdr": round(fmean(si_sdr(noisy, clean) for clean, noisy in pairs), 3),
        "rows": measure(cleaner, pairs),
    }
    Console().print(Markdown(table(results)))
    if given.json is not None:
        results_file.write(results, given.json)


if __name__ == "__main__":
    main()
