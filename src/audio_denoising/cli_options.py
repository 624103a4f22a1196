"""Options that several commands share, declared once so that they read alike everywhere."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

DATA = "Data"

Speech = Annotated[
    Path,
    typer.Option(
        help="Folder of clean speech: LibriSpeech or any folder.",
        metavar="DIR",
        rich_help_panel=DATA,
    ),
]
Noise = Annotated[
    Path,
    typer.Option(
        help="Folder of noise: UrbanSound8K or any folder.", metavar="DIR", rich_help_panel=DATA
    ),
]
Speeches = Annotated[
    list[str],
    typer.Option(
        help="Folder of clean speech; to train, tar shards too, by path or address. May be "
        "repeated: DIR=2 is drawn twice as often as DIR=1, without weights the hours decide.",
        metavar="DIR[=WEIGHT]",
        rich_help_panel=DATA,
    ),
]
Noises = Annotated[
    list[str],
    typer.Option(
        help="Folder of noise; may be repeated, as --speech.",
        metavar="DIR[=WEIGHT]",
        rich_help_panel=DATA,
    ),
]
HoldOut = Annotated[
    list[str] | None,
    typer.Option(
        help="Speaker, noise source or folder that validates instead of training; may be "
        "repeated. Without it some are chosen, always the same.",
        metavar="NAME",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Audio that `denoise data prepare` decoded.",
        metavar="FILE",
        show_default="data/prepared.cache, if it is there",
        rich_help_panel=DATA,
    ),
]

SPEECH = Path("data/LibriSpeech")
NOISE = Path("data/noise_datasets/UrbanSound8K")
SPEECHES, NOISES = [str(SPEECH)], [str(NOISE)]

DEVICES = "auto|cpu|cuda|mps"
DEVICE_HELP = "Where to compute; auto takes a GPU if there is one (cuda: NVIDIA, mps: Apple)."
PRECISIONS = "fp32|bf16"
PRECISION_HELP = "bf16 multiplies 16-bit numbers: faster where the processor has units for them."


class Command(TyperCommand):
    """A command whose help reads well.

    Paragraphs flow, examples stand out, `--help` comes last, and what takes no value has no type.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.help = _flowing(self.help)

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, as the help lists them."""
        return _tidy(super().get_params(ctx))


class Group(TyperGroup):
    """Likewise a group of commands."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.help = _flowing(self.help)

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, as the help lists them."""
        return _tidy(super().get_params(ctx))


def _flowing(text: str | None) -> str:
    """A docstring as Rich should print it: it keeps the ends of lines, which only examples need."""
    paragraphs = []
    for paragraph in cleandoc(text or "").split("\n\n"):
        title, *lines = paragraph.split("\n")  # one at least, of nothing: -OO takes the docstrings
        if title.startswith("Example"):
            # Typer takes the indentation away, but not behind markup.
            paragraphs.append("\n".join([title, *(f"[bold]{line}[/bold]" for line in lines)]))
        else:
            paragraphs.append(" ".join([title, *lines]))
    return "\n\n".join(paragraphs)


def _tidy(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    if len(parameters) > 1:  # --help is the last; Typer would print a group of its own for it first
        parameters[-1].rich_help_panel = parameters[-2].rich_help_panel
    return parameters
