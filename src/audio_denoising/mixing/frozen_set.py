"""A frozen set of mixtures: which speech, which noise, from where and how loud, drawn from a seed.

Whole utterances rather than the stretches that training uses, each with another noise recording.
The same seed draws the same choices from the same recordings, wherever their folder stands.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_denoising.corpora.corpus import DamagedRecording, Recording, Waveform
from audio_denoising.corpora.corpus import read_segment as read
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.errors import UserError

SILENCE = 1e-6  # mean power (-60 dB re full scale) below which nothing is heard
LONGEST = 8 * SAMPLE_RATE  # samples of an utterance that are used

_WHOLE = 60 * SAMPLE_RATE  # longer noise is never decoded as a whole
_PLACES = 64  # places tried in a noise source before it counts as silent

Groups = Mapping[str, Sequence[Recording]]


@dataclass(frozen=True)
class Choice:
    """What one mixture is made of."""

    speech: Recording
    noise: Recording
    offset: int  # samples (16 kHz) into the noise, which goes round where it ends
    snr_db: float


class DetailedMix(NamedTuple):
    """A mixture and how it came about: ``noisy = scale · (speech + noise_gain · noise)``.

    ``clean`` and ``noisy`` are float32 ``(L,)`` within [-1, 1].
    """

    clean: Waveform
    noisy: Waveform
    noise_gain: float
    scale: float


def detailed_mix(speech: npt.ArrayLike, noise: npt.ArrayLike, snr_db: float) -> DetailedMix:
    """Adds noise ``(L,)`` to speech ``(L,)`` at ``snr_db = 10·log10(speech / noise power)``.

    Their mean powers over the whole stretch count. Where the sum would exceed full scale, speech
    and mixture are scaled down together, which leaves the ratio as it is. Digitally silent noise
    leaves the speech clean; beside digitally silent speech no ratio exists, and the noise is added
    as it is.
    """
    clean, added = np.asarray(speech, np.float64), np.asarray(noise, np.float64)
    if clean.shape != added.shape:
        raise ValueError(f"speech {clean.shape} and noise {added.shape} differ in length")
    speech_power, noise_power = power(clean), power(added)
    gain = 1.0
    if speech_power > 0 and noise_power > 0:
        gain = math.sqrt(speech_power / (noise_power * 10 ** (snr_db / 10)))
    noisy = clean + added * gain
    peak = max(np.abs(clean).max(initial=0.0), np.abs(noisy).max(initial=0.0))
    scale = 1.0 / peak if peak > 1 else 1.0
    return DetailedMix(
        (clean * scale).astype(np.float32), (noisy * scale).astype(np.float32), gain, scale
    )


def power(waveform: npt.ArrayLike) -> float:
    """Mean power of the samples; a full-scale square wave has power 1."""
    samples = np.asarray(waveform, dtype=np.float64)
    return float(np.mean(samples * samples)) if samples.size else 0.0


def long_enough(
    recordings: Sequence[Recording], shortest: int, *, audible: bool = False
) -> dict[str, list[Recording]]:
    """Recordings of at least ``shortest`` samples, by group and in the order of their names.

    ``audible`` leaves out what is silent or cannot be decoded, which takes decoding it; of
    recordings beyond a minute that is found out when a stretch of them is drawn.
    """
    groups: dict[str, list[Recording]] = defaultdict(list)
    for recording in sorted(recordings, key=lambda recording: recording.path.stem):
        if recording.samples < shortest:
            continue
        short = recording.samples <= _WHOLE
        if audible and short and not _sounds(recording, 0, recording.samples):
            continue
        groups[recording.group].append(recording)
    return dict(groups)


def draw(
    voices: Groups,
    sources: Groups,
    *,
    count: int,
    snrs_db: Sequence[float],
    seed: int,
    longest: int = LONGEST,
) -> list[Choice]:
    """Draws ``count`` mixtures.

    A speaker is heard once at every level, each time with another utterance and another noise
    source as long as there are others; then it is the next speaker's turn. Utterances that are
    silent or cannot be decoded are passed over.

    Args:
        voices, sources: speech by speaker and audible noise by recording, see `long_enough`.
        longest: samples (16 kHz) of an utterance that will be used.

    Raises:
        UserError: no speech, or one source of noise, has any sound in it.
    """
    rng = np.random.default_rng(seed)
    source_order = rng.permutation(sorted(sources))
    speaker_order = [str(speaker) for speaker in rng.permutation(sorted(voices))]
    waiting: dict[str, deque[Recording]] = {}
    sounding: set[Path] = set()
    choices: list[Choice] = []
    while len(choices) < count:
        if not speaker_order:
            raise UserError(
                "All of the speech is silent or cannot be decoded; `denoise data check` names "
                "the files."
            )
        turn, level = divmod(len(choices), len(snrs_db))
        speaker = speaker_order[turn % len(speaker_order)]
        if speaker not in waiting:
            utterances = voices[speaker]
            waiting[speaker] = deque(utterances[i] for i in rng.permutation(len(utterances)))
        utterance = waiting[speaker].popleft()
        if utterance.path in sounding or _sounds(utterance, 0, longest):
            sounding.add(utterance.path)
            waiting[speaker].append(utterance)
            length = min(utterance.samples, longest)
            clips = sources[source_order[len(choices) % len(source_order)]]
            clip, offset = _noise_place(clips, length, rng)
            choices.append(Choice(utterance, clip, offset, snrs_db[level]))
        elif not waiting[speaker]:
            speaker_order.remove(speaker)
    return choices


def render(choice: Choice, longest: int = LONGEST) -> DetailedMix:
    """Mixes one choice at 16 kHz: at most ``longest`` samples from the start of the utterance."""
    clean = read(choice.speech, 0, longest)
    return detailed_mix(clean, looped(choice.noise, choice.offset, len(clean)), choice.snr_db)


def _noise_place(
    clips: Sequence[Recording], length: int, rng: np.random.Generator
) -> tuple[Recording, int]:
    """A clip of one source and a place in it from which there is something to hear."""
    for _ in range(_PLACES):
        clip = clips[int(rng.integers(len(clips)))]
        offset = int(rng.integers(clip.samples))
        if _sounds(clip, offset, length):
            return clip, offset
    raise UserError(
        f"{clips[0].path} is silent almost everywhere, or it cannot be decoded; take it out of "
        "the folder of noise."
    )


def _sounds(recording: Recording, offset: int, length: int) -> bool:
    try:
        return power(looped(recording, offset, length)) >= SILENCE
    except DamagedRecording:
        return False


def looped(recording: Recording, offset: int, length: int) -> Waveform:
    """``length`` samples from ``offset`` on, going round where the recording ends."""
    if recording.samples <= _WHOLE:
        return np.resize(np.roll(read(recording, 0, recording.samples), -offset), length)
    stretch = read(recording, offset, length)
    return np.concatenate([stretch, read(recording, 0, length - len(stretch))])
