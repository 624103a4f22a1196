"""Looks at speech and noise as training would: what is there, what is wrong, who goes where.

Training passes over what it cannot read and over silence; what is clipped or very short it uses.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from audio_denoising.corpora.corpus import (
    TOLERANCE_SECONDS,
    Recording,
    Scan,
    join,
    nothing_found,
    scan_noise,
    scan_speech,
)
from audio_denoising.corpora.sources import Source, is_shards
from audio_denoising.corpora.splits import Splits, split
from audio_denoising.dsp.spectrum import FFT_SIZE, SAMPLE_RATE, SEGMENT, image, stft
from audio_denoising.errors import UserError
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.frozen_set import SILENCE, power
from audio_denoising.mixing.kept_library import DEFAULT, KeptLibrary
from audio_denoising.mixing.library import load_bank
from audio_denoising.mixing.recipe import PRESETS

BATCH = 16  # mixtures, as `denoise train` has it by default
CLIPPED_LEVEL = 0.99  # of full scale
CLIPPED_SHARE = 0.001  # of the samples: fewer are chance peaks

UNREADABLE, DAMAGED, SILENT = "unreadable", "damaged", "silent"  # passed over by training
SHORT, CLIPPED = "too short", "clipped"  # used by training
UNUSABLE = (UNREADABLE, DAMAGED, SILENT)

_SECONDS = 1.0  # spent on measuring the rate
_SAMPLE = 32  # recordings of each kind that this is done with

_NAMED = 5  # files of a kind that are named unless all are asked for
_LISTED = 10  # formats, folds or folders that are listed


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


@dataclass
class Check:
    """The whole report. Training could run if there are no ``problems``.

    ``decoded`` is False if only headers were read; ``splits`` and ``rate`` (mixtures and their
    images per second, once decoded) are None where there was nothing to divide or to measure;
    ``cache`` says how much of it training finds decoded.
    """

    decoded: bool
    corpora: list[Corpus] = field(default_factory=list)
    splits: Splits | None = None
    rate: float | None = None
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
        cache: the folder of decoded recordings, if it is not the usual one.
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
            folder = cache or (DEFAULT if DEFAULT.exists() else None)
            if folder is not None:
                count = len(spoken) + len(noises)
                here = count - len(KeptLibrary(folder).missing([*spoken, *noises]))
                report.cache = f"{here} of {count} recordings lie decoded in {folder}"
            if not quick:
                report.rate = measure(report.splits)
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


def measure(splits: Splits) -> float:
    """Mixtures per second, with their images, on this processor; some recordings are enough.

    Raises UserError if none can be made.
    """
    train = splits.train
    speech, noise = (load_bank(part[:_SAMPLE]) for part in (train.speech, train.noise))
    mixer = Mixer(speech, noise, PRESETS["original"], seed=0)
    made, started = 0, time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        for waveforms in mixer.batch(made, BATCH, SEGMENT):
            image(stft(waveforms))
        made += 1
    return BATCH * made / (time.perf_counter() - started)


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


def print_check(console: Console, report: Check, *, name_all: bool = False) -> None:
    """Prints the report; ``name_all`` names every faulty file, else the first five of a kind."""
    for corpus in report.corpora:
        weight = "" if corpus.weight is None else f", weight {corpus.weight:g}"
        folder = f"[bold]{corpus.what:<8}[/bold]{escape(str(corpus.folder))}{weight}"
        console.print(folder, soft_wrap=True)
    filled = [report.of(what) for what in ("speech", "noise")]
    filled = [corpora for corpora in filled if any(c.scan.recordings for c in corpora)]
    if filled:
        console.print()
        console.print(_contents(filled))
    unusable = [(c, [f for f in c.findings if f.fault in UNUSABLE]) for c in report.corpora]
    doubtful = [(c, [f for f in c.findings if f.fault not in UNUSABLE]) for c in report.corpora]
    if not report.decoded:
        console.print("\nOnly headers were read: damage, silence and clipping are not known.")
    elif filled and not any(found for _, found in unusable):
        console.print("\nEvery file found can be used.")
    _faults(console, "Unusable, passed over by training", unusable, name_all)
    _faults(console, "Used by training, but worth a look", doubtful, name_all)
    if report.splits:
        console.print("\n[bold]Split that training uses[/bold]")
        console.print(_division(report.splits))
    if report.cache:
        console.print(f"\n[bold]Cache[/bold] {escape(report.cache)}.", soft_wrap=True)
    if report.rate:
        epoch = len(report.splits.train.speech) if report.splits else 0
        console.print(
            f"\n[bold]Rate[/bold] of one process, once decoded: {report.rate:.0f} mixtures/s "
            f"({report.rate / BATCH:.2g} batches of {BATCH}), so that an epoch of {epoch:,} takes "
            f"{max(1, round(epoch / report.rate)):,} s beside the training itself."
        )
    console.print()
    for note in report.notes:
        console.print(f"[yellow]Note:[/yellow] {escape(note)}")
    for problem in report.problems:
        console.print(
            f"[bold red]Training cannot run.[/bold red] {escape(problem)}", soft_wrap=True
        )
    if not report.problems:
        console.print("[bold green]Training can run.[/bold green]")


def _contents(kinds: Sequence[Sequence[Corpus]]) -> Table:
    """A column for all speech, a column for all noise."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for corpora in kinds:
        table.add_column(corpora[0].what, overflow="fold")
    found = [[r for corpus in corpora for r in corpus.scan.recordings] for corpora in kinds]
    table.add_row("files", *(f"{len(recordings):,}" for recordings in found))
    table.add_row("hours", *(f"{_hours(recordings):.2f}" for recordings in found))
    table.add_row("speakers, sources", *(f"{_groups(recordings):,}" for recordings in found))
    table.add_row("seconds each", *map(_lengths, found))
    table.add_row("sample rates", *(_counts(f"{r.rate / 1000:g} kHz" for r in rs) for rs in found))
    table.add_row("formats", *(_counts(r.path.suffix[1:].lower() for r in rs) for rs in found))
    parts = ([_part(c, r) for c in corpora for r in c.scan.recordings] for corpora in kinds)
    table.add_row("parts", *(escape(_counts(names)) for names in parts))
    return table


def _part(corpus: Corpus, recording: Recording) -> str:
    """The subset or fold of a recording, else the folder below the root that it lies in."""
    if recording.split_hint is None:
        inside = recording.path.relative_to(corpus.scan.root).parts
        return inside[0] if len(inside) > 1 else "(loose files)"
    return recording.path.parents[2 if corpus.what == "speech" else 0].name


def _faults(
    console: Console,
    title: str,
    found: Sequence[tuple[Corpus, Sequence[Finding]]],
    name_all: bool,
) -> None:
    total = sum(len(findings) for _, findings in found)
    if not total:
        return
    console.print(f"\n[bold]{title}: {total:,}[/bold]")
    folders = Counter(corpus.what for corpus, _ in found)
    for corpus, findings in found:
        where = f" in {corpus.folder}" if folders[corpus.what] > 1 else ""
        kinds = Counter(finding.fault for finding in findings)
        for fault, count in kinds.items():
            console.print(f"{count:>6,} {corpus.what} {fault}{where}", markup=False, soft_wrap=True)
            of_kind = [finding for finding in findings if finding.fault == fault]
            shown = of_kind if name_all else of_kind[:_NAMED]
            for finding in shown:
                name = finding.path.relative_to(corpus.scan.root)
                console.print(
                    f"       {name}: {finding.detail}", markup=False, soft_wrap=True, style="dim"
                )
            if len(shown) < count:
                console.print(f"       and {count - len(shown):,} more (--all names them)")


def _division(splits: Splits) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "", "train", "validation", "test"):
        table.add_column(name, justify="right" if name else "left", min_width=10 if name else 0)
    for what, group in (("speech", "speakers"), ("noise", "sources")):
        parts = [getattr(part, what) for part in (splits.train, splits.validation, splits.test)]
        table.add_row(what, "files", *(f"{len(part):,}" for part in parts))
        table.add_row("", group, *(f"{_groups(part):,}" for part in parts))
        table.add_row("", "hours", *(f"{_hours(part):.2f}" for part in parts))
    return table


def _hours(recordings: Sequence[Recording]) -> float:
    return sum(recording.seconds for recording in recordings) / 3600


def _groups(recordings: Sequence[Recording]) -> int:
    return len({recording.group for recording in recordings})


def _lengths(recordings: Sequence[Recording]) -> str:
    lengths = sorted(recording.seconds for recording in recordings)
    if not lengths:
        return ""
    return f"{lengths[0]:.2g} to {lengths[-1]:.3g}, median {median(lengths):.2g}"


def _counts(names: Iterable[str]) -> str:
    """``"flac 12, opus 3"``, the most frequent ones first; just ``"flac"`` if all are alike."""
    counts = Counter(names)
    if len(counts) < 2:
        return "".join(counts)
    listed = [f"{name} {count:,}" for name, count in counts.most_common(_LISTED)]
    others = len(counts) - len(listed)
    return ", ".join([*listed, f"{others:,} others"] if others else listed)
