"""The `denoise evaluate` command: judges versions and denoisers of others on a test set."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from audio_denoising.cli.options import NOISE, SPEECH
from audio_denoising.errors import UserError

if TYPE_CHECKING:
    from audio_denoising.evaluation.runner import Result

console = Console(highlight=False, emoji=False)


_JUDGED, _TEST_SET, _RUN = "Who is judged", "Test set", "Run"


def evaluate(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A version that ships, or a checkpoint; may be repeated.",
            metavar="VERSION|FILE",
            show_default="all that ship",
            rich_help_panel=_JUDGED,
        ),
    ] = None,
    peers: Annotated[
        bool,
        typer.Option(
            "--peers",
            help="Judge noisereduce, RNNoise, DTLN, GTCRN and DeepFilterNet3 as well.",
            rich_help_panel=_JUDGED,
        ),
    ] = False,
    testset: Annotated[
        Path | None,
        typer.Option(
            help="Folder with clean/ and noisy/, as `denoise data mix` writes it.",
            metavar="DIR",
            show_default="the frozen lists, mixed from --speech and --noise",
            rich_help_panel=_TEST_SET,
        ),
    ] = None,
    speech: Annotated[
        Path,
        typer.Option(
            help="For the frozen lists: LibriSpeech with test-other.",
            metavar="DIR",
            rich_help_panel=_TEST_SET,
        ),
    ] = SPEECH,
    noise: Annotated[
        Path,
        typer.Option(
            help="For the frozen lists: UrbanSound8K with fold10.",
            metavar="DIR",
            rich_help_panel=_TEST_SET,
        ),
    ] = NOISE,
    json: Annotated[
        Path | None,
        typer.Option(
            help="Write every single score to this JSON file.",
            metavar="FILE",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Recordings to judge at once, in processes of their own.",
            metavar="N",
            show_default="one for each processor",
            rich_help_panel=_RUN,
        ),
    ] = None,
) -> None:
    """Judge versions and others' denoisers on held-out mixtures: quality, intelligibility, speed.

    PESQ, STOI, SI-SDR and more, by noise level and kind of noise; the same numbers every time.

    Examples:
      denoise evaluate --speech LibriSpeech --noise UrbanSound8K --peers
      denoise evaluate --testset data/test_set --model v4 --json scores.json
    """
    from audio_denoising.corpora.sources import require_folder
    from audio_denoising.models.shipped import locate
    from audio_denoising.whole_file import require_writable

    if jobs is not None and jobs < 1:
        raise UserError("--jobs must be above 0")
    for name in model or ():
        locate(name)
    if testset is None:
        require_folder(speech, "speech")
        require_folder(noise, "noise")
    if json is not None:
        require_writable(json.resolve().parent)

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    from audio_denoising.corpora.corpus import index_noise, index_speech
    from audio_denoising.evaluation.candidates import MODELS, candidates
    from audio_denoising.evaluation.frozen_lists import items_of_all_lists
    from audio_denoising.evaluation.result_tables import print_tables
    from audio_denoising.evaluation.results import content, write
    from audio_denoising.evaluation.runner import evaluate as run
    from audio_denoising.evaluation.runner import processors
    from audio_denoising.evaluation.scores import missing
    from audio_denoising.evaluation.summary import real_time_factors, summarise
    from audio_denoising.evaluation.testset import folder_items

    chosen = candidates(model or MODELS, peers=peers)
    for each in chosen:  # a wrong name should fail at once
        each.build()
    jobs = jobs or processors()
    for package, metrics in missing().items():
        console.print(
            f"Without {', '.join(metrics)}: the package {package} is not installed; pip install "
            f"{package} brings it.",
            markup=False,
        )
    with tempfile.TemporaryDirectory() as workshop:
        if testset is not None:
            items = folder_items(testset)
        else:
            with console.status("Looking for files"):
                found = index_speech(speech), index_noise(noise)
                items, lacking = items_of_all_lists(*found, Path(workshop))
            for reason in lacking:
                console.print(f"One of the two lists is left out: {reason}", markup=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("Judging", total=len(items))
            results = run(
                items, chosen, jobs=jobs, progress=lambda done: bar.update(task, completed=done)
            )
    summaries, factors = summarise(results), real_time_factors(results)
    print_tables(console, summaries, factors)
    console.print(
        "\n± half of the 95 % bootstrap interval. Less is better for LSD and RTF alone. RTF: work "
        f"for a second of audio, in seconds, on one thread; {jobs} at a time.",
        style="dim",
    )
    other = sum(not result.as_listed for result in results)
    if other:
        console.print(
            f"{other} of {len(results)} recordings are not the very samples that the list was made "
            "with: another encoding of the corpora, or another decoder. Published figures differ "
            "a little from these."
        )
    undefined = _undefined(results)
    if undefined:
        console.print(f"Not defined, and left out of the means: {undefined}.", markup=False)
    if json is not None:
        write(content(results, summaries, chosen, jobs=jobs), json)
        console.print(str(json), style="bold", markup=False, soft_wrap=True)


def _undefined(results: list[Result]) -> str:
    """Which scores some outputs do not have, as a few words."""
    lacking = Counter(
        (metric, name)
        for result in results
        for name, scores in result.scores.items()
        for metric, value in scores.items()
        if value is None
    )
    return ", ".join(f"{m} of {count} × {name}" for (m, name), count in sorted(lacking.items()))
