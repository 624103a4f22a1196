"""Prints what `check` found, within 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from audio_denoising.corpora.corpus import Recording
from audio_denoising.corpora.splits import Splits
from audio_denoising.mixing.check import BATCH, UNUSABLE, Check, Corpus, Finding

_NAMED = 5  # files of a kind that are named unless all are asked for
_LISTED = 10  # formats, folds or folders that are listed


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
        rate, epoch = report.rate, len(report.splits.train.speech) if report.splits else 0
        console.print(
            f"\n[bold]Rate[/bold] of one process: {rate.mixtures_per_second:.0f} mixtures/s "
            f"({rate.mixtures_per_second / BATCH:.2g} batches of {BATCH}), "
            f"{100 * rate.device_share:.0f} % of the time for mixing and STFT. An epoch of "
            f"{epoch:,} takes it {_duration(epoch / rate.mixtures_per_second)}."
        )
        if report.cache is None and rate.device_share < 0.5:
            console.print("Most of that is decoding, which `denoise data prepare` does once.")
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


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
