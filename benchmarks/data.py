"""How fast training data comes: ours beside the plain way, and beside what training consumes.

python -m benchmarks.data --speech DIR --noise DIR [--workers 0,1,2] [--rounds N] [--json PATH]

    plain   the original system's way: for every item both files are decoded whole, the noise is
            resampled whole, and mixing and STFT run item by item inside the dataset
    cold    ours from the recordings: only the stretch that is needed is decoded and resampled,
            mixing and STFT run on whole batches in the training process
    cached  ours from the cache that `denoise data prepare` writes
    shards  ours from the tar files that `denoise data shard` writes
    step    what training consumes: steps of v4-small on our engine, measured alone

All give batches of (noisy, clean) images (N, 256, 256) of the same recordings: a sample of some
corpus in the formats of LibriSpeech (FLAC, 16 kHz mono) and UrbanSound8K (WAV, 44.1 kHz stereo),
on which the cost of a stretch depends. They run in turn, in interleaved rounds (`measuring`),
each with every number of worker processes. A rate is items per second while a loader is running:
starting its workers is not counted. After the first round the files are in the system's page
cache, so "cold" measures decoding, not a disk.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from audio_denoising.corpora.corpus import Recording, index_noise, index_speech
from audio_denoising.dsp.spectrum import SAMPLE_RATE, SEGMENT, image, stft
from audio_denoising.errors import UserError
from audio_denoising.mixing.dataset import MixtureDataset, batches
from audio_denoising.mixing.mixing import SILENCE, Stretches, Waveform, mix, power, read_segment
from audio_denoising.mixing.mixtures import make_mixtures
from audio_denoising.mixing.preparation import prepare
from audio_denoising.mixing.prepared import open_cache
from audio_denoising.mixing.shard_reading import ShardMixtures
from audio_denoising.mixing.shard_writing import write_shards
from audio_denoising.mixing.shards import find_shards
from audio_denoising.training.learner import ScratchLearner
from audio_denoising.training.options import TrainingOptions
from benchmarks.measuring import (
    Trial,
    better,
    describe_machine,
    interleaved,
    markdown_table,
    ratio,
    report,
    set_up,
)

TITLES = {
    "plain": "plain: both files decoded whole, STFT item by item",
    "cold": "ours, decoding from the recordings",
    "cached": "ours, from the cache of `denoise data prepare`",
    "shards": "ours, from the shards of `denoise data shard`",
}


PLAIN, COLD, CACHED, SHARDS = "plain", "cold", "cached", "shards"
WAYS = (PLAIN, COLD, CACHED, SHARDS)
STEP = "step"
BATCH = 16
BATCHES = 4  # timed in a trial
STEP_BATCH = 8
PHASE = "seconds"
NOISE_RATE = 44_100

Images = tuple[Tensor, Tensor]
Way = Callable[[int, int], Iterator[Images]]  # (epoch, workers) -> batches


@dataclass(frozen=True)
class Sample:
    """Recordings in the corpora's own formats, below ``folder``."""

    folder: Path
    speech: list[Recording]
    noise: list[Recording]


def take_sample(speech: Path, noise: Path, folder: Path, files: int, seed: int = 0) -> Sample:
    """Rewrites ``files`` random recordings of each kind below ``folder``.

    Raises:
        UserError: there are none with sound in them, as DamagedRecording if one cannot be decoded.
    """
    rng = np.random.default_rng(seed)
    for what, recordings in (("speech", index_speech(speech)), ("noise", index_noise(noise))):
        (folder / what).mkdir()
        kept = 0
        for number in rng.permutation(len(recordings)):
            samples = read_segment(recordings[number], 0, recordings[number].samples)
            if power(samples) < SILENCE:
                continue
            if what == "speech":
                soundfile.write(folder / what / f"{kept}.flac", samples, SAMPLE_RATE)
            else:
                samples = soxr.resample(samples, SAMPLE_RATE, NOISE_RATE)
                stereo = np.stack([samples, samples], axis=1)
                soundfile.write(folder / what / f"{kept}.wav", stereo, NOISE_RATE)
            kept += 1
            if kept == files:
                break
        if not kept:
            raise UserError(f"The {what} folder holds nothing but silence: name another")
    return Sample(folder, index_speech(folder / "speech"), index_noise(folder / "noise"))


def make_ways(sample: Sample, batch: int, epoch_size: int) -> dict[str, Way]:
    """Every contestant over the same recordings, with caches and shards written for them."""
    cache_file, shards = sample.folder / "prepared.cache", sample.folder / "shards"
    recordings = [*sample.speech, *sample.noise]
    prepare(recordings, cache_file)
    for what, found in (("speech", sample.speech), ("noise", sample.noise)):
        root = sample.folder / what
        write_shards(found, [root], shards, what=what, split="train", megabytes=4)
    cache = open_cache(cache_file, recordings)
    assert cache is not None
    pair = sample.speech, sample.noise
    readers = {COLD: read_segment, CACHED: cache.read_segment}
    streamed = ShardMixtures(
        *(find_shards(f"{shards}/{what}-train-*.tar", what) for what in ("speech", "noise")),
        epoch_size=epoch_size,
    )

    def ours(name: str) -> Way:
        dataset = MixtureDataset(*pair, epoch_size=epoch_size, reader=readers[name])
        return lambda epoch, workers: map(
            images, batches(dataset, epoch=epoch, batch_size=batch, workers=workers)
        )

    def plain(epoch: int, workers: int) -> Iterator[Images]:
        dataset = PlainDataset(*pair, epoch=epoch, size=epoch_size)
        yield from DataLoader(dataset, batch, num_workers=workers)

    def from_shards(epoch: int, workers: int) -> Iterator[Images]:
        return map(images, streamed.batches(epoch=epoch, batch_size=batch, workers=workers))

    return {PLAIN: plain, COLD: ours(COLD), CACHED: ours(CACHED), SHARDS: from_shards}


def images(stretches: Stretches) -> Images:
    """(noisy, clean) of a batch, as the training loop makes them."""
    clean, noisy = make_mixtures(stretches)
    return image(stft(noisy)), image(stft(clean))


class PlainDataset(Dataset[Images]):
    """The straightforward way: everything for one item, in order, every time anew."""

    def __init__(
        self, speech: list[Recording], noise: list[Recording], *, epoch: int, size: int
    ) -> None:
        self.speech, self.noise = speech, noise
        self.epoch, self.size = epoch, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Images:
        rng = np.random.default_rng([self.epoch, index])
        speech, noise = (
            _crop(_load(recordings[rng.integers(len(recordings))].path), rng)
            for recordings in (self.speech, self.noise)
        )
        clean, noisy = mix(speech, noise, rng.uniform(0, 15))
        return image(stft(torch.from_numpy(noisy))), image(stft(torch.from_numpy(clean)))


def _load(path: Path) -> Waveform:
    """The whole file as 16 kHz mono."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono: Waveform = samples.mean(axis=1)
    return mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)


def _crop(samples: Waveform, rng: np.random.Generator) -> Waveform:
    if len(samples) < SEGMENT:
        samples = np.resize(samples, SEGMENT)
    start = rng.integers(len(samples) - SEGMENT + 1)
    return samples[start : start + SEGMENT]


def trial(way: Way, workers: int) -> Trial:
    """How long `BATCHES` batches take once the loader is running."""
    epoch = 0

    def run() -> dict[str, float]:
        nonlocal epoch
        epoch += 1
        found = way(epoch, workers)
        # Workers have two batches each ready before anybody asks; those are not what they can keep
        # up, and come first.
        for _ in range(2 * workers + 2 if workers else 1):
            next(found)
        start = time.perf_counter()
        for _ in range(BATCHES):
            next(found)
        return {PHASE: time.perf_counter() - start}

    return run


def step_trial(batch: Images) -> Trial:
    """How long v4-small needs to train on as many items; one step is measured."""
    options = TrainingOptions("v4", "small")
    learner = ScratchLearner(options, torch.device("cpu"))
    noisy, clean = (part[:STEP_BATCH, None] for part in batch)

    def run() -> dict[str, float]:
        start = time.perf_counter()
        learner.step(noisy, clean, options.learning_rate)
        return {PHASE: (time.perf_counter() - start) * BATCH * BATCHES / len(noisy)}

    return run


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything, as the JSON file has it."""
    sample = take_sample(given.speech, given.noise, folder, given.files)
    longest = 2 * max(given.workers) + 2 + BATCHES
    ways = make_ways(sample, BATCH, epoch_size=longest * BATCH)
    trials = {
        f"{name} {workers}": trial(ways[name], workers)
        for name in WAYS
        for workers in given.workers
    }
    trials[STEP] = step_trial(next(ways[COLD](0, 0)))
    (series,) = interleaved(trials, given.rounds).values()
    best = {name: better(series, [t for t in trials if t.startswith(name)]) for name in WAYS}
    ratios = {
        "over_plain": ratio(series, best[PLAIN], best[CACHED]),
        "over_plain_cold": ratio(series, best[PLAIN], best[COLD]),
        "over_step": ratio(series, STEP, best[CACHED]),
        "over_step_cold": ratio(series, STEP, best[COLD]),
    }
    lengths = {
        what: sum(each.seconds for each in found) / len(found)
        for what, found in (("speech", sample.speech), ("noise", sample.noise))
    }
    return {
        **{name: found["median"] for name, found in ratios.items()},
        "settings": {
            "batch": BATCH,
            "step_batch": STEP_BATCH,
            "rounds": given.rounds,
            "workers": given.workers,
            "threads": torch.get_num_threads(),
            "files": {"speech": len(sample.speech), "noise": len(sample.noise)},
            "mean_seconds": lengths,
        },
        "machine": describe_machine(),
        "ratios": ratios,
        "items_per_second": {name: rates(times) for name, times in series.items()},
    }


def rates(times: list[float | None]) -> list[float]:
    """Items per second in each round."""
    return [BATCH * BATCHES / seconds for seconds in times if seconds is not None]


def data_table(results: Mapping[str, Any]) -> str:
    """Items per second of every way with every number of workers: median (and quartiles)."""
    rates = results["items_per_second"]
    workers = results["settings"]["workers"]
    rows = [
        [title, *(_spread(rates[f"{name} {count}"]) for count in workers)]
        for name, title in TITLES.items()
    ]
    consumed = f"what a v4-small training step consumes: {_spread(rates[STEP])}"
    rows.append([consumed, *("" for _ in workers)])
    columns = ["items per second (quartiles)", *(f"{count} workers" for count in workers)]
    return markdown_table([name.replace("1 workers", "1 worker") for name in columns], rows)


def ratio_table(results: Mapping[str, Any]) -> str:
    """The headline ratios with their quartiles."""
    rows = []
    for name, found in results["ratios"].items():
        low, high = found["quartiles"]
        over, under = found["to"], found["of"]
        rows.append([name, f"{over} / {under}", f"{found['median']:.1f}", f"{low:.1f}-{high:.1f}"])
    return markdown_table(["ratio", "of rates (way, workers)", "median", "quartiles"], rows)


def _spread(rates: list[float]) -> str:
    low, _, high = quantiles(rates, n=4, method="inclusive") if rates[1:] else rates * 3
    return f"{median(rates):.0f} ({low:.0f}-{high:.0f})"


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the tables, keeps every round."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", type=Path, required=True, help="folder to sample speech from")
    parser.add_argument("--noise", type=Path, required=True, help="folder to sample noise from")
    parser.add_argument("--workers", default="0,1,2", help="numbers of worker processes (0,1,2)")
    parser.add_argument("--files", type=int, default=64, help="recordings of each kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="by default as many as torch takes")
    parser.add_argument("--json", type=Path, help="file for everything measured")
    given = parser.parse_args(arguments)
    given.workers = [int(word) for word in given.workers.split(",")]
    set_up(given.threads)
    try:
        with tempfile.TemporaryDirectory() as folder:
            results = measure(given, Path(folder))
    except UserError as error:
        sys.exit(f"{error}")
    report(results, given.json, data_table(results), ratio_table(results))


if __name__ == "__main__":
    main()
