"""The `denoise evaluate` command: judges versions and denoisers of others on a test set."""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from audio_denoising.cli.data_options import NOISE, SPEECH
from audio_denoising.cli.options import require_usable
from audio_denoising.errors import UserError

if TYPE_CHECKING:
    from audio_denoising.evaluation.results import Evaluation
    from audio_denoising.evaluation.testset import Item

console = Console(highlight=False, emoji=False, markup=False)

_judged = partial(typer.Option, rich_help_panel="Who is judged")
_test_set = partial(typer.Option, rich_help_panel="Test set")
_run = partial(typer.Option, rich_help_panel="Run")


def evaluate(
    model: Annotated[
        list[str] | None,
        _judged(
            help="A version that ships, or a checkpoint; may be repeated.",
            metavar="VERSION|FILE",
            show_default="all that ship",
        ),
    ] = None,
    peers: Annotated[
        bool,
        _judged(
            "--peers", help="Judge noisereduce, RNNoise, DTLN, GTCRN and DeepFilterNet3 as well."
        ),
    ] = False,
    testset: Annotated[
        Path | None,
        _test_set(
            help="Folder with clean/ and noisy/, as `denoise data mix` writes it.",
            metavar="DIR",
            show_default="the frozen lists, mixed from --speech and --noise",
        ),
    ] = None,
    speech: Annotated[
        Path, _test_set(help="For the frozen lists: LibriSpeech with test-other.", metavar="DIR")
    ] = SPEECH,
    noise: Annotated[
        Path, _test_set(help="For the frozen lists: UrbanSound8K with fold10.", metavar="DIR")
    ] = NOISE,
    json: Annotated[
        Path | None,
        _run(help="Write every single score to this file.", metavar="FILE", show_default=False),
    ] = None,
    update: Annotated[
        bool,
        _run(
            "--update",
            help="Keep the rows that the --json file has of others, judged on the same recordings.",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        _run(
            help="Recordings to judge at once, in processes of their own.",
            metavar="N",
            show_default="one for each processor",
        ),
    ] = None,
) -> None:
    """Judge versions and others' denoisers on held-out mixtures: quality, intelligibility, speed.

    PESQ, STOI, SI-SDR and more, by noise level and kind of noise; the same numbers every time.

    Examples:
      denoise evaluate --speech LibriSpeech --noise UrbanSound8K --peers
      denoise evaluate --testset data/test_set --model v4 --json scores.json
      denoise evaluate --model v5 --json scores.json --update
    """
    from audio_denoising.corpora.sources import require_recordings
    from audio_denoising.folders import require_writable
    from audio_denoising.models.versions import locate

    if jobs is not None and jobs < 1:
        raise UserError("--jobs must be above 0")
    for name in model or ():
        locate(name)
    if update and json is None:
        raise UserError("--update belongs to a file of scores: name it with --json")
    if testset is None:
        require_recordings(speech, "speech")
        require_recordings(noise, "noise")
    if json is not None:
        require_writable(json.resolve().parent)
    for name in model or ():
        require_usable(name)
    with tempfile.TemporaryDirectory() as workshop:
        items = _items(testset, speech, noise, Path(workshop))

        from rich.progress import Progress

        from audio_denoising.evaluation import judging, results
        from audio_denoising.evaluation.result_tables import print_tables
        from audio_denoising.evaluation.scores import missing

        earlier = results.read(json) if json is not None and update else None
        chosen = judging.candidates(model or judging.MODELS, peers=peers)
        for each in chosen:  # a package that is missing should fail at once
            each.build()
        jobs = jobs or judging.processors()
        for package, metrics in missing().items():
            console.print(
                f"Without {', '.join(metrics)}: the package {package} is not installed; pip "
                f"install {package} brings it.",
            )
        if earlier is not None:
            earlier.require_names(items)
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("Judging", total=len(items))
            found = judging.evaluate(
                items, chosen, jobs=jobs, progress=lambda done: bar.update(task, completed=done)
            )
    undefined, other = _undefined(found), _others(items, found)
    if earlier is not None:
        found = earlier.updated(found)
    print_tables(console, results.summarise(found), found.real_time_factor)
    console.print(
        "\n± half of the 95 % bootstrap interval. Less is better for LSD and RTF alone. RTF: work "
        f"for a second of audio, in seconds, on one thread; {jobs} at a time.",
        style="dim",
    )
    if other:
        console.print(
            f"{other} of {len(items)} recordings are not the very samples that the list was made "
            "with: another encoding of the corpora, or another decoder. Published figures differ "
            "a little from these."
        )
    if undefined:
        console.print(f"Not defined, and left out of the means: {undefined}.")
    if json is not None:
        results.write(found, json)
        console.print(str(json), style="bold", soft_wrap=True)


def _items(testset: Path | None, speech: Path, noise: Path, workshop: Path) -> list[Item]:
    """What is judged on: a folder, or those of the frozen lists whose recordings are there."""
    from audio_denoising.corpora.corpus import index_noise, index_speech
    from audio_denoising.evaluation.frozen_lists import items_of_all_lists
    from audio_denoising.evaluation.testset import folder_items

    if testset is not None:
        return folder_items(testset)
    with console.status("Looking for files"):
        found = index_speech(speech), index_noise(noise)
        items, lacking = items_of_all_lists(*found, workshop)
    for reason in lacking:
        console.print(f"One of the two lists is left out: {reason}")
    return items


def _others(items: list[Item], found: Evaluation) -> int:
    """How many recordings are not the samples that their list was made with."""
    pairs = zip(items, found.results, strict=True)
    return sum(item.sha256 not in ("", result.sha256) for item, result in pairs)


def _undefined(found: Evaluation) -> str:
    """Which scores some outputs do not have, as a few words."""
    lacking = Counter(
        (metric, name)
        for result in found.results
        for name, scores in result.scores.items()
        for metric, value in scores.items()
        if value is None
    )
    return ", ".join(f"{m} of {count} × {name}" for (m, name), count in sorted(lacking.items()))
