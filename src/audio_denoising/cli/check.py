"""The `denoise data check` command: what training would find, told before it starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from audio_denoising.cli.data_options import NOISES, SPEECHES, Cache, HoldOut, Noises, Speeches
from audio_denoising.errors import UserError
from audio_denoising.folders import refuse_file

if TYPE_CHECKING:
    from audio_denoising.corpora.corpus import Recording
    from audio_denoising.corpora.splits import Splits
    from audio_denoising.mixing.check import Check, Finding, Folder

console = Console(highlight=False, emoji=False)

_report = partial(typer.Option, rich_help_panel="Report")
_NAMED = 5  # files of a kind that are named unless all are asked for
_LISTED = 10  # formats, folds or folders that are listed


def check(
    speech: Speeches = SPEECHES,
    noise: Noises = NOISES,
    hold_out: HoldOut = None,
    cache: Cache = None,
    quick: Annotated[
        bool, _report("--quick", help="Read headers only: seconds, not minutes.")
    ] = False,
    name_all: Annotated[bool, _report("--all", help="Name every faulty file.")] = False,
) -> None:
    """Look at speech and noise as training would; exit with 1 if it could not run.

    Decodes every file; names what is unusable, and says who trains and how fast batches come.

    Example:
      denoise data check --speech my/voices --noise my/noise --hold-out anna
    """
    from audio_denoising.corpora.sources import is_shards, parse_sources, require_folders

    voices, sounds = parse_sources(speech, "--speech"), parse_sources(noise, "--noise")
    for source in (*voices, *sounds):
        if is_shards(source.place):
            raise UserError(
                f"{source.place} is not a folder: look at recordings before they become shards"
            )
    require_folders(voices, sounds)
    if cache is not None:
        refuse_file(cache, "--cache")

    from audio_denoising.corpora.names import require_held_out

    folders = [[each.place for each in places] for places in (voices, sounds)]
    require_held_out(hold_out or (), *folders)

    from rich.progress import Progress

    from audio_denoising.mixing.check import check as look

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("Looking for files", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"Decoding {what}", completed=done, total=total)

        report = look(
            voices,
            sounds,
            hold_out=hold_out or (),
            quick=quick,
            cache=cache,
            progress=progress,
        )
    print_check(report, name_all=name_all)
    if report.problems:
        raise typer.Exit(1)


def print_check(report: Check, *, name_all: bool = False) -> None:
    """Prints the report; ``name_all`` names every faulty file, else the first five of a kind."""
    from audio_denoising.mixing.check import BATCH, UNUSABLE

    tell = partial(console.print, soft_wrap=True)
    for folder in report.folders:
        weight = "" if folder.source.weight is None else f", weight {folder.source.weight:g}"
        tell(f"[bold]{folder.what:<8}[/bold]{escape(folder.source.place)}{weight}")
    filled = any(folder.scan.recordings for folder in report.folders)
    if filled:
        console.print("", _contents(report), sep="\n")
    if not report.decoded:
        tell("\nOnly headers were read: damage, silence and clipping are not known.")
    for title, unusable in (
        ("Unusable, passed over by training", True),
        ("Used by training, but worth a look", False),
    ):
        found = [
            (folder, [f for f in folder.findings if (f.fault in UNUSABLE) == unusable])
            for folder in report.folders
        ]
        total = sum(len(findings) for _, findings in found)
        if total:
            tell(f"\n[bold]{title}: {total:,}[/bold]")
        elif unusable and filled and report.decoded:
            tell("\nEvery file found can be used.")
        for folder, findings in found:
            _name_faults(folder, findings, name_all)
    if report.splits:
        console.print("\n[bold]Split that training uses[/bold]", _division(report.splits), sep="\n")
    if report.cache:
        tell(f"\n[bold]Cache[/bold] {escape(report.cache)}.")
    if report.rate and report.splits:
        epoch = len(report.splits.train.speech)
        console.print(
            f"\n[bold]Rate[/bold] of one process, once decoded: {report.rate:.0f} mixtures/s "
            f"({report.rate / BATCH:.2g} batches of {BATCH}), so that an epoch of {epoch:,} takes "
            f"{max(1, round(epoch / report.rate)):,} s beside the training itself."
        )
    tell()
    for note in report.notes:
        console.print(f"[yellow]Note:[/yellow] {escape(note)}")
    for problem in report.problems:
        tell(f"[bold red]Training cannot run.[/bold red] {escape(problem)}")
    if not report.problems:
        tell("[bold green]Training can run.[/bold green]")


def _contents(report: Check) -> Table:
    """A column for all speech, a column for all noise."""
    kinds = ("speech", "noise")
    columns = []
    for what in kinds:
        found = [(folder, each) for folder in report.of(what) for each in folder.scan.recordings]
        recordings = [each for _, each in found]
        columns.append(
            {
                "files": f"{len(recordings):,}",
                "hours": f"{_hours(recordings):.2f}",
                "speakers, sources": f"{_groups(recordings):,}",
                "seconds each": _lengths(recordings),
                "sample rates": _counts(f"{each.rate / 1000:g} kHz" for each in recordings),
                "formats": _counts(each.path.suffix[1:].lower() for each in recordings),
                "parts": escape(_counts(_part(folder, each) for folder, each in found)),
            }
        )
    table = Table("", *kinds, box=None, header_style="bold", pad_edge=False)
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    return table


def _part(folder: Folder, recording: Recording) -> str:
    """The subset or fold of a recording, else the folder below the root that it lies in."""
    if recording.split_hint is None:
        inside = recording.path.relative_to(folder.scan.root).parts
        return inside[0] if len(inside) > 1 else "(loose files)"
    return recording.path.parents[2 if folder.what == "speech" else 0].name


def _name_faults(folder: Folder, findings: Sequence[Finding], name_all: bool) -> None:
    for fault, count in Counter(finding.fault for finding in findings).items():
        console.print(
            f"{count:>6,} {folder.what} {fault} in {folder.source.place}",
            markup=False,
            soft_wrap=True,
        )
        of_kind = [finding for finding in findings if finding.fault == fault]
        for finding in of_kind if name_all else of_kind[:_NAMED]:
            line = f"       {finding.path.relative_to(folder.scan.root)}: {finding.detail}"
            console.print(line, markup=False, soft_wrap=True, style="dim")
        if count > _NAMED and not name_all:
            console.print(f"       and {count - _NAMED:,} more (--all names them)")


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
    lengths = [recording.seconds for recording in recordings] or [0.0]
    return f"{min(lengths):.2g} to {max(lengths):.3g}, median {median(lengths):.2g}"


def _counts(names: Iterable[str]) -> str:
    """``"flac 12, opus 3"``, the most frequent ones first; just ``"flac"`` if all are alike."""
    counts = Counter(names)
    if len(counts) < 2:
        return "".join(counts)
    listed = [f"{name} {count:,}" for name, count in counts.most_common(_LISTED)]
    others = len(counts) - len(listed)
    return ", ".join([*listed, f"{others:,} others"] if others else listed)
