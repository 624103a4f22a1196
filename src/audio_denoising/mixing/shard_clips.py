"""One piece of audio as a shard holds it, and its stretches."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import soxr

from audio_denoising.corpora.corpus import EXTENSIONS
from audio_denoising.corpora.sources import LONGEST_NOISE
from audio_denoising.dsp.spectrum import SAMPLE_RATE, SEGMENT
from audio_denoising.mixing.mixing import TOLERANCE_SECONDS, DamagedRecording, Waveform, to_mono


@dataclass(frozen=True)
class Clip:
    """A piece of audio as it stands in a shard, still encoded.

    ``split`` is what it says about itself, None if nothing; ``share`` is how much of its length
    counts where noise is drawn by length.
    """

    name: str
    data: bytes
    frames: int
    rate: int
    split: str | None
    share: float

    @property
    def samples(self) -> int:
        """Length at 16 kHz."""
        return self.frames * SAMPLE_RATE // self.rate

    def read(self, start: int, length: int) -> Waveform:
        """A part of it, as `mixing.read_segment` reads files; raises DamagedRecording.

        At another rate than 16 kHz, which our own shards do not have, all of it is decoded.
        """
        length = min(length, self.samples - start)
        native = self.rate == SAMPLE_RATE
        try:
            with soundfile.SoundFile(io.BytesIO(self.data)) as file:
                file.seek(start if native else 0)
                frames = file.read(length if native else -1, dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:
            raise DamagedRecording(f"{self.name}: {error}") from error
        mono = to_mono(frames)
        if not native:
            mono = soxr.resample(mono, self.rate, SAMPLE_RATE)[start : start + length]
        if not np.isfinite(mono).all():
            raise DamagedRecording(f"{self.name}: it holds samples that are not numbers")
        if len(mono) < length - TOLERANCE_SECONDS * SAMPLE_RATE:
            raise DamagedRecording(f"{self.name}: it ends early")
        return mono if len(mono) == length else np.pad(mono, (0, length - len(mono)))


def parse_clip(name: str, sample: Mapping[str, Any]) -> Clip:
    """The audio of a sample as webdataset groups it: contents by their endings, nothing decoded.

    Of the JSON beside it only what `shard_writing` notes is looked at; there may be none.

    Raises:
        DamagedRecording: there is no audio, its header cannot be read, or the JSON is none.
    """
    endings = (ending for ending in sample if f".{ending.rpartition('.')[2]}" in EXTENSIONS)
    try:
        audio = sample[next(endings)]
        with soundfile.SoundFile(io.BytesIO(audio)) as file:
            frames, rate = file.frames, file.samplerate
        about = json.loads(sample.get("json", "{}"))
        whole = max(1, int(about.get("recording_samples", frames * SAMPLE_RATE // rate)))
        split = about.get("split")
    except (StopIteration, ValueError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise DamagedRecording(f"{name}: {error or 'no audio'}") from error
    return Clip(name, audio, frames, rate, split, min(1.0, LONGEST_NOISE * SAMPLE_RATE / whole))


def by_length(clips: Iterable[Clip], rng: random.Random) -> Iterator[Clip]:
    """Each clip as many times as stretches of it shall be drawn: on average one for every 2.55 s.

    All of them share its bytes. What is left of a stretch becomes one by chance.
    """
    for clip in clips:
        for _ in range(int(clip.samples * clip.share / SEGMENT + rng.random())):
            yield clip
