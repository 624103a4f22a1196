"""`denoise compare`: several versions on the same recordings, as sound, pictures and numbers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from audio_denoising.cli.data_options import NOISE, SPEECH
from audio_denoising.cli.options import device_option, require_usable
from audio_denoising.errors import UserError
from audio_denoising.paths import require_file, require_free

if TYPE_CHECKING:
    from audio_denoising.evaluation.comparison import Comparison
    from audio_denoising.samples import Samples

console = Console(highlight=False, emoji=False, markup=False)


_recordings = partial(typer.Option, rich_help_panel="Recordings")
_result = partial(typer.Option, rich_help_panel="Result")


def compare(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Noisy recordings.",
            metavar="INPUT",
            show_default="a mixture of the test list, from the corpora in --speech and --noise",
        ),
    ] = None,
    clean: Annotated[
        Path | None,
        _recordings(
            help="The clean form of the recording, to score against.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    snr: Annotated[
        int,
        _recordings(
            help="Level of speech over noise, in dB, of the mixture of the test list.",
            metavar="0|5|10|15",
        ),
    ] = 5,
    speech: Annotated[
        Path,
        _recordings(help="Speech of the test list: LibriSpeech with test-other.", metavar="DIR"),
    ] = SPEECH,
    noise: Annotated[
        Path, _recordings(help="Noise of the test list: UrbanSound8K with fold10.", metavar="DIR")
    ] = NOISE,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A version that ships, or a checkpoint; may be repeated.",
            metavar="VERSION|FILE",
            show_default="all that ship",
            rich_help_panel="Versions",
        ),
    ] = None,
    device: Annotated[str, device_option("Versions")] = "auto",
    histories: Annotated[
        bool,
        _result(
            "--histories",
            help="Draw training curves instead, of versions, run folders or checkpoints.",
        ),
    ] = False,
    output: Annotated[
        Path,
        _result(
            "--output", "-o", help="Folder for the report, wav files and pictures.", metavar="DIR"
        ),
    ] = Path("comparison"),
    force: Annotated[bool, _result("--force", help="Replace an existing report.")] = False,
) -> None:
    """Hear, see and measure what each version makes of a recording.

    Writes wav files, spectrograms, a table and report.html, a page that switches between the
    versions while they play.

    Examples:
      denoise compare examples/noisy_street.wav --clean examples/clean_street.flac
      denoise compare --histories -o curves.png
    """
    if histories:
        _draw_histories([str(path) for path in inputs or []], output, force=force)
        return
    from audio_denoising.models import VERSIONS
    from audio_denoising.models.versions import has_weights, locate, title_of

    inputs = inputs or []
    names = list(dict.fromkeys(model or filter(has_weights, VERSIONS)))
    if clean is not None and len(inputs) != 1:
        raise UserError("--clean belongs to one recording: give one INPUT with it")
    for name in names:
        locate(name)
    given = [*inputs, *([clean] if clean else [])]
    for path in given:
        require_file(path)
    if not inputs and snr not in (0, 5, 10, 15):
        raise UserError(f"the test list has no mixture at {snr} dB: choose 0, 5, 10 or 15")
    if not inputs and not (speech.is_dir() and noise.is_dir()):
        raise UserError(
            "give a recording to compare; a mixture of the test list needs its corpora, and "
            f"{speech if not speech.is_dir() else noise} is not there (--speech, --noise)"
        )
    require_free(output / "report.html", force=force)
    from audio_denoising.media.reading import AudioReader

    for path in given:  # before torch is loaded: what is no sound is told at once
        AudioReader(path).close()
    for name in names:
        require_usable(name)
    from audio_denoising.evaluation.testset import read_pair

    if inputs:
        recordings = [(path.name, *read_pair(path, clean)) for path in inputs]
    else:
        recordings = [_from_test_list(speech, noise, snr)]

    from audio_denoising.cleaning.denoiser import Denoiser
    from audio_denoising.evaluation.comparison import compare as run
    from audio_denoising.evaluation.report import write_comparisons

    denoisers = [(title_of(name), Denoiser(name, device=device)) for name in names]
    with console.status("") as status:
        comparisons = [
            run(what, noisy, rate, denoisers, reference, started=status.update)
            for what, noisy, reference, rate in recordings
        ]
        status.update("Writing the report")
        report = write_comparisons(comparisons, output)
    for comparison in comparisons:
        console.print(_table(comparison))
    console.print(str(report), style="bold", soft_wrap=True)


def _draw_histories(sources: list[str], output: Path, *, force: bool) -> None:
    """One picture of the training of all versions, or of the runs given."""
    path = output if output.suffix else output / "curves.png"
    require_free(path, force=force)

    from audio_denoising.evaluation.curves_figure import write_curves
    from audio_denoising.models import VERSIONS
    from audio_denoising.models.versions import has_weights

    write_curves(sources or list(filter(has_weights, VERSIONS)), path)
    console.print(str(path), style="bold", soft_wrap=True)


def _from_test_list(speech: Path, noise: Path, snr: int) -> tuple[str, Samples, Samples, int]:
    """The first mixture of the frozen list with this ratio."""
    from audio_denoising.corpora.corpus import index_noise, index_speech
    from audio_denoising.evaluation.frozen_lists import FIRST, frozen_items

    wanted = [row for row in FIRST.rows() if row.snr_db == snr][:1]
    with TemporaryDirectory() as workshop:
        (item,) = frozen_items(wanted, index_speech(speech), index_noise(noise), Path(workshop))
        clean, noisy, rate = item.source.load()
    return f"{item.name}, {snr} dB", noisy[None], clean[None], rate


def _table(comparison: Comparison) -> Table:
    """Scores of every take, on the terminal."""
    table = Table(box=None, header_style="bold", title=comparison.title, title_justify="left")
    table.add_column("version")
    for name in comparison.names:
        table.add_column(name, justify="right")
    for take in comparison.takes:
        table.add_row(take.name, *map(take.shown, comparison.names))
    return table
