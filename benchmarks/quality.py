"""How well every model cleans the forty held-out mixtures: PESQ, STOI and SI-SDR at each SNR.

python -m benchmarks.quality --speech DIR --noise DIR [--model v4 ...] [--json FILE]

Prints the table and, with --json, keeps every single score. Nothing here is random: the list is
frozen (`audio_denoising.evaluation.testset`), so two runs differ only in the last digits that
another processor rounds otherwise.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track

from audio_denoising.data.corpus import index_noise, index_speech
from audio_denoising.denoiser import Denoiser
from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.evaluation.metrics import pesq_wb, si_sdr, stoi
from audio_denoising.evaluation.testset import Mixture, frozen_list, load
from audio_denoising.training.checkpoint import shipped
from benchmarks.machine import describe_machine
from benchmarks.tables import quality_table

MODELS = ("v2", "v3", "v4", "torch")
NOISY = "noisy input"

Waveform = npt.NDArray[np.float32]
Cleaner = Callable[[Any, int], Any]  # as a Denoiser: the waveform and its rate


def measure(
    cleaners: Mapping[str, Cleaner],
    mixtures: Iterable[tuple[Mixture, Waveform, Waveform]],
) -> list[dict[str, Any]]:
    """Scores the noisy input and what every cleaner makes of it.

    Args:
        cleaners: name -> function of (waveform ``(L,)``, rate) that returns its denoised copy.
        mixtures: as `evaluation.testset.load` yields them.

    Returns:
        One entry for every mixture: how it is listed, a digest of its samples, ``scores`` of every
        candidate, and ``clean_through``, the SI-SDR (dB) of the clean speech sent through.
    """
    results = []
    for mixture, clean, noisy in mixtures:
        candidates = {NOISY: noisy}
        candidates |= {name: cleaner(noisy, SAMPLE_RATE) for name, cleaner in cleaners.items()}
        results.append(
            {
                "speaker": mixture.speaker,
                "utterance": mixture.utterance,
                "noise": mixture.noise,
                "snr_db": mixture.snr_db,
                "seconds": clean.size / SAMPLE_RATE,
                "sha256": hashlib.sha256(noisy.tobytes()).hexdigest()[:16],
                "scores": {name: _scores(out, clean) for name, out in candidates.items()},
                "clean_through": {
                    name: round(si_sdr(cleaner(clean, SAMPLE_RATE), clean), 4)
                    for name, cleaner in cleaners.items()
                },
            }
        )
    return results


def weights_digest(name: str) -> str:
    """First half of the SHA-256 of the file behind a version or checkpoint: 32 hex digits."""
    path = Path(name) if name.endswith(".pth") else shipped(name)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def _scores(estimate: Waveform, clean: Waveform) -> dict[str, float]:
    return {
        "pesq_wb": round(pesq_wb(estimate, clean, SAMPLE_RATE), 4),
        "stoi": round(stoi(estimate, clean, SAMPLE_RATE), 4),
        "si_sdr": round(si_sdr(estimate, clean), 4),
    }


def _write(results: dict[str, Any], path: Path) -> None:
    """Writes one mixture a line, whole or not at all."""
    head = {key: value for key, value in results.items() if key != "mixtures"}
    lines = ",\n  ".join(json.dumps(entry) for entry in results["mixtures"])
    text = (
        json.dumps(head, indent=1).removesuffix("\n}") + f',\n "mixtures": [\n  {lines}\n ]\n}}\n'
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the table, keeps the scores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", required=True, help="tree with LibriSpeech's test-other in it")
    parser.add_argument("--noise", required=True, help="tree with UrbanSound8K's fold10 in it")
    parser.add_argument("--model", action="append", help="version or checkpoint; may be repeated")
    parser.add_argument("--json", type=Path, help="file for every single score")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    # A checkpoint goes by its file and folder: where that folder lies is nobody's business.
    models = {"/".join(Path(name).parts[-2:]): name for name in given.model or MODELS}
    try:
        cleaners = {
            title: Denoiser.from_pretrained(name, device=given.device)
            for title, name in models.items()
        }
        speech, noise = index_speech(given.speech), index_noise(given.noise)
        mixtures = frozen_list()
        pairs = load(mixtures, speech, noise)
    except UserError as error:
        sys.exit(f"{error}")
    progress = track(pairs, "mixtures", len(mixtures), console=Console(stderr=True))
    results = {
        "machine": describe_machine(),
        "weights": {title: weights_digest(name) for title, name in models.items()},
        "mixtures": measure(cleaners, progress),
    }
    Console().print(Markdown(quality_table(results)))
    if given.json is not None:
        _write(results, given.json)


if __name__ == "__main__":
    main()
