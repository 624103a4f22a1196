"""What a comparison leaves on disk: wav files, a picture and a table, and the listening report."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from audio_denoising.errors import UserError
from audio_denoising.evaluation.comparison import RTF, Comparison
from audio_denoising.evaluation.comparison_figure import comparison_figure
from audio_denoising.evaluation.report import write_report
from audio_denoising.files import save_whole
from audio_denoising.media.writing import AudioWriter

REPORT = "report.html"


def write_comparisons(comparisons: Sequence[Comparison], folder: Path) -> Path:
    """Writes everything and returns the path of the report.

    ``FOLDER/TITLE/`` holds a wav file for every take (16 bit), ``spectrograms.png`` and
    ``metrics.csv``; ``FOLDER/report.html`` plays them all. Files of the same names are replaced.

    Raises:
        UserError: something cannot be written.
    """
    audio = []
    names = _distinct([Path(comparison.title).stem for comparison in comparisons])
    for comparison, name in zip(comparisons, names, strict=True):
        place = folder / name
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{place} cannot be made ({error.strerror}): choose another") from error
        audio.append(_write_takes(comparison, place))
        figure = comparison_figure(comparison)
        save_whole(place / "spectrograms.png", figure.savefig)
        table = _table(comparison)
        save_whole(place / "metrics.csv", lambda path, text=table: path.write_text(text))  # type: ignore[misc]
    write_report(folder / REPORT, comparisons, audio)
    return folder / REPORT


def _write_takes(comparison: Comparison, place: Path) -> list[Path]:
    paths = []
    names = _distinct([take.name for take in comparison.takes])
    for take, name in zip(comparison.takes, names, strict=True):
        path = place / f"{name}.wav"
        channels, frames = take.samples.shape
        with AudioWriter(path, comparison.rate, channels, frames=frames, force=True) as writer:
            writer.write(take.samples)
        paths.append(path)
    return paths


def _table(comparison: Comparison) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["version", *comparison.names])
    for take in comparison.takes:
        values = (take.rtf if name == RTF else take.scores.get(name) for name in comparison.names)
        rows.writerow([take.name, *("" if v is None else f"{v:.4f}" for v in values)])
    return text.getvalue()


def _distinct(titles: Sequence[str]) -> list[str]:
    """A name of a file or folder for each, all different."""
    names: list[str] = []
    for plain in map(_plain, titles):
        number = 2
        name = plain
        while name in names:
            name, number = f"{plain}_{number}", number + 1
        names.append(name)
    return names


def _plain(text: str) -> str:
    """Text as a file name."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "recording"
