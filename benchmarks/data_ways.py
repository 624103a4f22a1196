"""The contestants of the data benchmark: ways from recordings to the images a network trains on.

    plain   the original system's way: for every item both files are decoded whole, the noise is
            resampled whole, and mixing and STFT run item by item inside the dataset
    cold    ours from the recordings: only the stretch that is needed is decoded and resampled,
            mixing and STFT run on whole batches in the training process
    cached  ours from the cache that `denoise data prepare` writes
    shards  ours from the tar files that `denoise data shard` writes

All give batches of (noisy, clean) images (N, 256, 256) of the same recordings. The recordings are
a sample of some corpus, rewritten in the formats of LibriSpeech (FLAC, 16 kHz mono) and
UrbanSound8K (WAV, 44.1 kHz stereo), because what a stretch costs depends on these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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

PLAIN, COLD, CACHED, SHARDS = "plain", "cold", "cached", "shards"
WAYS = (PLAIN, COLD, CACHED, SHARDS)
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
