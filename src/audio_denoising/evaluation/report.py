"""What a comparison leaves on disk: wav files, a picture, a table, and the listening report.

The report is one HTML file that plays every take of every recording at one playhead. The page
(`report_template.html`) needs no network and no other file: pictures are inside, and so is the
sound unless there is a lot of it; then it stands beside the page.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib
import numpy as np
from matplotlib.image import imsave

from audio_denoising.dsp.spectrum import FLOOR_DB
from audio_denoising.errors import UserError
from audio_denoising.evaluation.comparison import Comparison
from audio_denoising.evaluation.figures import comparison_figure, overview
from audio_denoising.files import save_whole
from audio_denoising.media.writing import AudioWriter

EMBEDDED_BYTES = 24_000_000  # of wav files; beyond that they stay beside the page

_PLACE = "/*REPORT*/null"


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
    write_report(folder / "report.html", comparisons, audio)
    return folder / "report.html"


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
        values = (take.scores.get(name) for name in comparison.names)
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


def write_report(
    path: Path, comparisons: Sequence[Comparison], audio: Sequence[Sequence[Path]]
) -> None:
    """Writes the page, whole or not at all.

    ``audio`` are the wav files of each comparison's takes, somewhere below the folder of the page.

    Raises:
        UserError: the file cannot be written.
    """
    size = sum(file.stat().st_size for takes in audio for file in takes)
    recordings = [
        _recording(comparison, takes, path.parent, embedded=size <= EMBEDDED_BYTES)
        for comparison, takes in zip(comparisons, audio, strict=True)
    ]
    content = {"recordings": recordings, "floor": FLOOR_DB, "scale": _scale()}
    # "</" inside a script element would end it.
    data = json.dumps(content, allow_nan=False).replace("</", "<\\/")
    template = files(__package__).joinpath("report_template.html").read_text(encoding="utf-8")
    page = template.replace(_PLACE, data)
    save_whole(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))


def _recording(
    comparison: Comparison, audio: Sequence[Path], folder: Path, *, embedded: bool
) -> dict[str, Any]:
    quietest = min(take.speech_level for take in comparison.takes)
    takes = [
        {
            "name": take.name,
            "gain": 10 ** ((quietest - take.speech_level) / 20),
            "picture": _picture(comparison, index),
            "file": file.name,
            "audio": _data(file.read_bytes(), "audio/wav")
            if embedded
            else quote(file.relative_to(folder).as_posix()),
        }
        for index, (take, file) in enumerate(zip(comparison.takes, audio, strict=True))
    ]
    return {
        "title": comparison.title,
        "rate": comparison.rate,
        "channels": int(comparison.takes[0].samples.shape[0]),
        "seconds": comparison.seconds,
        "takes": takes,
        "scores": [
            {
                "name": name,
                "meaning": comparison.meaning(name),
                "shown": [take.shown(name) for take in comparison.takes],
                "best": comparison.best(name),
            }
            for name in comparison.names
        ],
    }


def _picture(comparison: Comparison, index: int) -> str:
    """The bare spectrogram; the page draws the axes around it."""
    levels = overview(comparison.takes[index].samples, comparison.rate)
    buffer = io.BytesIO()
    imsave(buffer, levels, cmap="magma", vmin=FLOOR_DB, vmax=0.0, origin="lower", format="png")
    return _data(buffer.getvalue(), "image/png")


def _scale() -> list[str]:
    """Colours of the level scale from the floor to 0 dB, for the page's legend."""
    colours = matplotlib.colormaps["magma"](np.linspace(0.0, 1.0, 9))
    return [matplotlib.colors.to_hex(colour) for colour in colours]


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
