"""Options on speech and noise that the commands of training and testing share."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

DATA = "Data"
_data = partial(typer.Option, rich_help_panel=DATA)

Speech = Annotated[
    Path, _data(help="Folder of clean speech: LibriSpeech or any folder.", metavar="DIR")
]
Noise = Annotated[Path, _data(help="Folder of noise: UrbanSound8K or any folder.", metavar="DIR")]
Speeches = Annotated[
    list[str],
    _data(
        help="Folder of clean speech; to train, tar shards too, by path or address. May be "
        "repeated: DIR=2 is drawn twice as often as DIR=1, without weights their size decides.",
        metavar="DIR[=WEIGHT]",
    ),
]
Noises = Annotated[
    list[str],
    _data(help="Folder of noise; may be repeated, as --speech.", metavar="DIR[=WEIGHT]"),
]
HoldOut = Annotated[
    list[str] | None,
    _data(
        help="Speaker, noise source or folder that validates instead of training; may be "
        "repeated. Without it some are chosen, always the same.",
        metavar="NAME",
        show_default=False,
    ),
]
Cache = Annotated[
    Path | None,
    _data(
        help="Folder of decoded recordings; what is missing in it is decoded into it.",
        metavar="DIR",
        show_default="data/decoded, if it is there",
    ),
]

SPEECH = Path("data/LibriSpeech")
NOISE = Path("data/noise_datasets/UrbanSound8K")
SPEECHES, NOISES = [str(SPEECH)], [str(NOISE)]
