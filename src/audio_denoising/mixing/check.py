"""Looks at speech and noise as training would: what is there, what is wrong, who goes where.

Training passes over what it cannot read and over silence; what is clipped or very short it uses.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from audio_denoising.corpora.corpus import (
    Recording,
    Scan,
    join,
    nothing_found,
    scan_noise,
    scan_speech,
)
from audio_denoising.corpora.sources import (
    Source,
    Weights,
    noise_chances,
    speech_chances,
    weights_of,
)
from audio_denoising.corpora.splits import Splits, split
from audio_denoising.dsp.spectrum import FFT_SIZE, SAMPLE_RATE, SEGMENT, image, stft
from audio_denoising.errors import UserError
from audio_denoising.mixing.dataset import MixtureDataset, Reader, batches
from audio_denoising.mixing.mixing import SILENCE, TOLERANCE_SECONDS, power, read_segment
from audio_denoising.mixing.mixtures import make_mixtures
from audio_denoising.mixing.prepared import open_cache
from audio_denoising.mixing.shards import is_shards

BATCH = 16  # mixtures, as `denoise train` has it by default
CLIPPED_LEVEL = 0.99  # of full scale
CLIPPED_SHARE = 0.001  # of the samples: fewer are chance peaks

UNREADABLE, DAMAGED, SILENT = "unreadable", "damaged", "silent"  # passed over by training
SHORT, CLIPPED = "too short", "clipped"  # used by training
UNUSABLE = (UNREADABLE, DAMAGED, SILENT)

_SECONDS = 3.0  # spent on measuring the rate


@dataclass(frozen=True)
class Finding:
    """What is wrong with one file: one of the words above and a few more."""

    path: Path
    fault: str
    detail: str


@dataclass
class Corpus:
    """What one folder holds; ``what`` is "speech" or "noise", ``weight`` how often it is drawn."""

    what: str
    folder: Path
    weight: float | None
    scan: Scan
    findings: list[Finding] = field(default_factory=list)

    @property
    def unusable(self) -> set[Path]:
        """The files that training passes over."""
        return {finding.path for finding in self.findings if finding.fault in UNUSABLE}


@dataclass(frozen=True)
class Rate:
    """How fast one process made mixtures, and how much of its time was not decoding."""

    mixtures_per_second: float
    device_share: float  # mixing and STFT, 0 to 1: the work of the device that trains


@dataclass
class Check:
    """The whole report. Training could run if there are no ``problems``.

    ``decoded`` is False if only headers were read; ``splits`` and ``rate`` are None where there
    was nothing to divide or to measure; ``cache`` says how much of it training finds decoded.
    """

    decoded: bool
    corpora: list[Corpus] = field(default_factory=list)
    splits: Splits | None = None
    rate: Rate | None = None
    cache: str | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def of(self, what: str) -> list[Corpus]:
        """The folders of speech, or of noise."""
        return [corpus for corpus in self.corpora if corpus.what == what]


def check(
    speech: Sequence[Source],
    noise: Sequence[Source],
    *,
    hold_out: Sequence[str] = (),
    quick: bool = False,
    cache: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Check:
    """Scans, decodes, splits and measures.

    Args:
        speech, noise: the folders and their weights.
        hold_out: as `splits.split` takes it.
        quick: read headers only, decode nothing and measure nothing.
        cache: as `prepared.open_cache` takes it.
        progress: told what is being decoded, how many files are done, and how many there are.

    Raises:
        UserError: a name of ``hold_out`` fits nothing. All else that is wrong is in the report.
    """
    report = Check(decoded=not quick)
    scans = {"speech": scan_speech, "noise": scan_noise}
    given = [("speech", source) for source in speech] + [("noise", source) for source in noise]
    for what, source in given:
        if is_shards(source.place):
            report.problems.append(
                f"{source.place} is not a folder: look at recordings before they become shards"
            )
            continue
        try:
            scan = scans[what](source.folder)
        except UserError as error:
            report.problems.append(str(error))
            continue
        corpus = Corpus(what, source.folder, source.weight, scan)
        report.corpora.append(corpus)
        corpus.findings += [
            Finding(path, UNREADABLE, reason) for path, reason in scan.unreadable.items()
        ]
        recordings = scan.recordings
        if not recordings:
            report.problems.append(nothing_found(scan, what))
        for done, faults in enumerate(_examine_all(recordings, quick), 1):
            corpus.findings += faults
            progress(what, done, len(recordings))
    if report.problems:
        return report
    try:
        spoken, noises = (join(c.scan.recordings for c in report.of(what)) for what in scans)
    except UserError as error:
        report.problems.append(str(error))
        return report
    report.splits = split(spoken, noises, hold_out=hold_out)
    _judge(report, report.splits)
    if not report.problems:
        try:
            prepared = open_cache(cache, [*spoken, *noises])
            report.cache = prepared.summary if prepared else None
            if not quick:
                reader = prepared.read_segment if prepared else read_segment
                weights = weights_of(speech), weights_of(noise)
                report.rate = measure(report.splits, *weights, reader=reader)
        except UserError as error:
            report.problems.append(str(error))
    return report


def examine(recording: Recording, *, decode: bool = True) -> list[Finding]:
    """What is wrong with a recording whose header could be read.

    Too short is less than one STFT window (32 ms). Silent means no stretch of 2.55 s reaches
    -60 dB; clipped, that 0.1 % of the samples stand at full scale. Without ``decode`` only the
    length is looked at.
    """
    found: list[Finding] = []
    if recording.samples < FFT_SIZE:
        milliseconds = 1000 * recording.seconds
        found.append(Finding(recording.path, SHORT, f"{milliseconds:.3g} ms, a window is 32 ms"))
    if not decode:
        return found
    done, clipped, loudest = 0, 0, 0.0
    try:
        with soundfile.SoundFile(str(recording.path)) as file:
            block = SEGMENT * recording.rate // SAMPLE_RATE
            while len(frames := file.read(block, dtype="float32", always_2d=True)):
                if not np.isfinite(frames).all():
                    detail = "samples that are not numbers"
                    return [*found, Finding(recording.path, DAMAGED, detail)]
                done += len(frames)
                clipped += int((np.abs(frames) >= CLIPPED_LEVEL).any(axis=1).sum())
                loudest = max(loudest, power(frames.mean(axis=1)))
    except (OSError, RuntimeError):
        detail = f"cannot be decoded beyond {done / recording.rate:.2f} s"
        return [*found, Finding(recording.path, DAMAGED, detail)]
    if done < recording.frames - TOLERANCE_SECONDS * recording.rate:
        detail = f"ends after {done / recording.rate:.2f} of {recording.seconds:.2f} s"
        return [*found, Finding(recording.path, DAMAGED, detail)]
    if loudest < SILENCE:
        found.append(Finding(recording.path, SILENT, "nowhere above -60 dB"))
    if clipped > CLIPPED_SHARE * done:
        share = f"{100 * clipped / done:.2g} % of it at full scale"
        found.append(Finding(recording.path, CLIPPED, share))
    return found


def measure(
    splits: Splits,
    speech_weights: Weights | None = None,
    noise_weights: Weights | None = None,
    reader: Reader = read_segment,
) -> Rate:
    """Makes batches of training mixtures and their images for about three seconds.

    The weights are those of the folders, see `sources.weights_of`.

    Raises UserError if none can be made.
    """
    part = splits.train
    dataset = MixtureDataset(
        part.speech,
        part.noise,
        epoch_size=1000 * BATCH,
        speech_chances=speech_chances(part.speech, speech_weights),
        noise_chances=noise_chances(part.noise, noise_weights),
        reader=reader,
    )
    spent, transforming, count = 0.0, 0.0, 0
    since = time.perf_counter()
    for number, stretches in enumerate(batches(dataset, epoch=1, batch_size=BATCH)):
        decoded = time.perf_counter()
        for waveforms in make_mixtures(stretches):
            image(stft(waveforms))
        now = time.perf_counter()
        if number:  # the first batch loads libraries and fills caches
            spent, transforming, count = now - since, transforming + now - decoded, count + BATCH
            if spent > _SECONDS:
                break
        else:
            since = now
    return Rate(count / spent, transforming / spent)


def _examine_all(recordings: Sequence[Recording], quick: bool) -> Iterator[list[Finding]]:
    # libsndfile decodes without Python's lock, so threads decode side by side.
    pool = ThreadPoolExecutor(max_workers=os.cpu_count())
    try:
        yield from pool.map(lambda recording: examine(recording, decode=not quick), recordings)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for thousands of files


def _judge(report: Check, splits: Splits) -> None:
    """Says what would stop training, and what would make it less than it seems."""
    for what, group in (("speech", "speaker"), ("noise", "noise source")):
        corpora = report.of(what)
        folders = " and ".join(str(corpus.folder) for corpus in corpora)
        unusable = {path for corpus in corpora for path in corpus.unusable}
        recordings = [recording for corpus in corpora for recording in corpus.scan.recordings]
        training = {recording.source for recording in getattr(splits.train, what)}
        for number, corpus in enumerate(corpora):
            if training and number not in training:
                report.notes.append(
                    f"Nothing of {corpus.folder} is in the train split, it will never be drawn."
                )
        for name in ("train", "validation"):
            part = getattr(getattr(splits, name), what)
            if not part:
                report.problems.append(
                    f"{folders} leaves no {what} for the {name} split: add recordings of "
                    f"other {group}s"
                )
            elif all(recording.path in unusable for recording in part):
                report.problems.append(
                    f"Nothing of {folders} in the {name} split can be used, it is silent or "
                    f"damaged: replace it, or add recordings of other {group}s"
                )
        if len(recordings) > 1 and len({recording.group for recording in recordings}) == 1:
            report.notes.append(
                f"All {what} is of one {group}, so it is divided by file: validation will not "
                f"tell how well other {group}s are denoised."
            )
        if not getattr(splits.test, what):
            report.notes.append(
                f"No {what} is left for a test split; add {group}s, or test on another corpus."
            )
    count = len(splits.train.speech)
    if 0 < count < BATCH:
        report.notes.append(
            f"An epoch of {count} mixtures does not fill a batch of {BATCH}: train with "
            f"--batch-size {count}, or with --epoch-size {BATCH} or more."
        )
