"""Looks at speech and noise as training would: what is there, what is wrong, who goes where.

Training passes over what it cannot read and over silence; what is clipped or very short it uses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from audio_denoising.corpora.corpus import (
    DamagedRecording,
    Recording,
    Scan,
    join,
    read_segment,
    scan,
)
from audio_denoising.corpora.sources import Source, nothing_found
from audio_denoising.corpora.splits import Splits, split
from audio_denoising.dsp.spectrum import FFT_SIZE, SEGMENT, image, stft
from audio_denoising.errors import UserError
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.frozen_set import SILENCE, power
from audio_denoising.mixing.kept_library import DEFAULT, KeptLibrary
from audio_denoising.mixing.library import all_cores, load_bank
from audio_denoising.mixing.recipe import PRESETS

BATCH = 16  # mixtures, as `denoise train` has it by default
CLIPPED_LEVEL = 0.99  # of full scale
CLIPPED_SHARE = 0.001  # of the samples: fewer are chance peaks
KINDS = {"speech": "speaker", "noise": "noise source"}  # and what a group of each is called
UNUSABLE = ("unreadable", "damaged", "silent")  # passed over by training, unlike other faults

_SECONDS = 1.0  # spent on measuring the rate
_SAMPLE = 32  # recordings of each kind that this is done with


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file: one of `UNUSABLE`, "too short" or "clipped", and a few words."""

    path: Path
    fault: str
    detail: str


@dataclass
class Folder:
    """What one folder of speech or noise holds, and what is wrong with it."""

    what: str
    source: Source
    scan: Scan
    findings: list[Finding] = field(default_factory=list)


@dataclass
class Check:
    """The whole report. Training could run if there are no ``problems``."""

    decoded: bool  # not only headers were read
    folders: list[Folder] = field(default_factory=list)
    splits: Splits | None = None  # None where there was nothing to divide
    rate: float | None = None  # mixtures and their images per second; None where not measured
    cache: str = ""  # how much of it training finds decoded
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def of(self, what: str) -> list[Folder]:
        """The folders of speech, or of noise."""
        return [folder for folder in self.folders if folder.what == what]


def check(
    speech: Sequence[Source],
    noise: Sequence[Source],
    *,
    hold_out: Sequence[str] = (),
    quick: bool = False,
    cache: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Check:
    """Scans, decodes, splits and measures; all that is wrong is in the report.

    Args:
        hold_out: as `splits.split` takes it.
        quick: read headers only, decode nothing and measure nothing.
        cache: the folder of decoded recordings, if it is not the usual one.
        progress: told what is being decoded, how many files are done, and how many there are.
    """
    report = Check(decoded=not quick)
    for what, sources in (("speech", speech), ("noise", noise)):
        for source in sources:
            try:
                found = scan(source.place, what)
                missed = [Finding(path, "unreadable", w) for path, w in found.unreadable.items()]
                folder = Folder(what, source, found, missed)
                report.folders.append(folder)
                if not found.recordings:
                    raise UserError(nothing_found(found.folder, what, len(found.unreadable)))
            except UserError as error:
                report.problems.append(str(error))
                continue
            with all_cores() as pool:
                every = pool.map(partial(examine, decode=not quick), found.recordings)
                for done, more in enumerate(every, 1):
                    folder.findings += more
                    progress(what, done, len(found.recordings))
    if report.problems:
        return report
    try:
        spoken, noises = (join(f.scan.recordings for f in report.of(what)) for what in KINDS)
        report.splits = split(spoken, noises, hold_out=hold_out)
        _judge(report, report.splits)
        kept = cache or (DEFAULT if DEFAULT.exists() else None)
        if kept is not None:
            count = len(spoken) + len(noises)
            here = count - len(KeptLibrary(kept).missing([*spoken, *noises]))
            report.cache = f"{here} of {count} recordings lie decoded in {kept}"
        if not quick and not report.problems:
            report.rate = measure(report.splits)
    except UserError as error:
        report.problems.append(str(error))
    return report


def examine(recording: Recording, *, decode: bool = True) -> list[Finding]:
    """What is wrong with a recording whose header could be read, as training hears it: 16 kHz mono.

    Too short is less than one STFT window (32 ms). Silent means no stretch of 2.55 s reaches
    -60 dB; clipped, that 0.1 % of the samples stand at full scale. Without ``decode`` only the
    length is looked at.
    """
    found = []
    if recording.samples < FFT_SIZE:
        detail = f"{1000 * recording.seconds:.3g} ms, a window is 32 ms"
        found.append(Finding(recording.path, "too short", detail))
    if not decode:
        return found
    try:
        sound = read_segment(recording, 0, recording.samples)
    except DamagedRecording as error:
        detail = str(error).removeprefix(f"{recording.path}: ")
        return [*found, Finding(recording.path, "damaged", detail)]
    if max(power(sound[at : at + SEGMENT]) for at in range(0, len(sound), SEGMENT)) < SILENCE:
        found.append(Finding(recording.path, "silent", "nowhere above -60 dB"))
    clipped = float(np.mean(np.abs(sound) >= CLIPPED_LEVEL))
    if clipped > CLIPPED_SHARE:
        found.append(Finding(recording.path, "clipped", f"{100 * clipped:.2g} % at full scale"))
    return found


def measure(splits: Splits) -> float:
    """Mixtures per second, with their images, on this processor; UserError if none can be made."""
    train = splits.train
    speech, noise = (load_bank(part[:_SAMPLE]) for part in (train.speech, train.noise))
    mixer = Mixer(speech, noise, PRESETS["original"], seed=0)
    made, started = 0, time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        for waveforms in mixer.batch(made, BATCH, SEGMENT):
            image(stft(waveforms))
        made += 1
    return BATCH * made / (time.perf_counter() - started)


def _judge(report: Check, splits: Splits) -> None:
    """Says what would stop training, and what would make it less than it seems."""
    for what, group in KINDS.items():
        folders = report.of(what)
        places = " and ".join(folder.source.place for folder in folders)
        unusable = {f.path for folder in folders for f in folder.findings if f.fault in UNUSABLE}
        train, validation, test = (
            getattr(part, what) for part in (splits.train, splits.validation, splits.test)
        )
        drawn = {recording.source for recording in train}
        report.notes += [
            f"Nothing of {folder.source.place} is in the train split, it will never be drawn."
            for number, folder in enumerate(folders)
            if drawn and number not in drawn
        ]
        for name, part in (("train", train), ("validation", validation)):
            if not part:
                report.problems.append(
                    f"{places} leaves no {what} for the {name} split: add recordings of other "
                    f"{group}s"
                )
            elif all(recording.path in unusable for recording in part):
                report.problems.append(
                    f"Nothing of {places} in the {name} split can be used, it is silent or "
                    f"damaged: replace it, or add recordings of other {group}s"
                )
        recordings = [recording for folder in folders for recording in folder.scan.recordings]
        if len(recordings) > 1 and len({each.group for each in recordings}) == 1:
            report.notes.append(
                f"All {what} is of one {group}, so it is divided by file: validation will not "
                f"tell how well other {group}s are denoised."
            )
        if not test:
            report.notes.append(
                f"No {what} is left for a test split; add {group}s, or test on another corpus."
            )
    count = len(splits.train.speech)
    if 0 < count < BATCH:
        report.notes.append(
            f"An epoch of {count} mixtures does not fill a batch of {BATCH}: train with "
            f"--batch-size {count}, or with --epoch-size {BATCH} or more."
        )
