"""Options that several commands share, declared once so that they read alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Speech = Annotated[Path, typer.Option(help="Folder of clean speech: LibriSpeech or any folder.")]
Noise = Annotated[Path, typer.Option(help="Folder of noise: UrbanSound8K or any folder.")]
Speeches = Annotated[
    list[str],
    typer.Option(
        help="Folder of clean speech; to train, tar shards too, by path or address. May be "
        "repeated: DIR=2 is drawn twice as often as DIR=1, without weights the hours decide.",
        metavar="DIR[=WEIGHT]",
    ),
]
Noises = Annotated[
    list[str],
    typer.Option(help="Folder of noise; may be repeated, as --speech.", metavar="DIR[=WEIGHT]"),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Audio that `denoise data prepare` decoded. Default: data/prepared.cache, if there.",
        show_default=False,
    ),
]
HoldOut = Annotated[
    list[str] | None,
    typer.Option(
        help="Speaker, noise source or folder that validates; may be repeated.",
        show_default=False,
    ),
]

SPEECH = Path("data/LibriSpeech")
NOISE = Path("data/noise_datasets/UrbanSound8K")
SPEECHES, NOISES = [str(SPEECH)], [str(NOISE)]
