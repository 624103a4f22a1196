"""Options that several commands share, declared once so that they read alike everywhere."""

from __future__ import annotations

import re
from inspect import cleandoc
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from audio_denoising.device import check_device_name, refuse_absent
from audio_denoising.errors import UserError
from audio_denoising.models.versions import VERSIONS, Version, locate, require_causal

_RECORDING = re.compile(r"\.[a-z]+\d?$", re.IGNORECASE)  # ends like a file
_DASHED = re.compile(r"-[^-].*\.[a-z]+\d?", re.IGNORECASE)  # so, and begins like an option


def option(
    panel: str, help: str, metavar: str = "", default: str | bool = True, names: str = ""
) -> Any:
    """An option in a group of the help; `default` is what the help shows as its default.

    Its ``names``, apart by a space, follow from the argument's unless they are given, as of a flag
    without a --no-flag.
    """
    shown: dict[str, Any] = {"metavar": metavar, "show_default": default, "rich_help_panel": panel}
    return typer.Option(*names.split(), help=help, **shown)


def device_option(panel: str, *, elsewhere: bool = False) -> Any:
    """`--device` of a command, in a group of its help; ``elsewhere``: maybe another machine's."""

    def known(name: str) -> str:
        check_device_name(name)
        if not elsewhere:
            refuse_absent(name)
        return name

    return typer.Option(
        help="Where to compute; auto takes a GPU if there is one (cuda: NVIDIA, mps: Apple). v5 "
        "cleans on the CPU wherever it was trained.",
        metavar="auto|cpu|cuda|mps",
        callback=known,
        rich_help_panel=panel,
    )


def require_usable(model: str, causal_for: str = "") -> Version:
    """The version of a model, once it is known before torch is loaded that its weights are good.

    UserError where they are not, or not for what needs frame after frame, `causal_for`.
    """
    path = locate(model)
    from audio_denoising.models.header import read_checkpoint  # and NumPy with it

    version = read_checkpoint(path).version
    if causal_for:
        require_causal(version, causal_for)
    return VERSIONS[version]


class _Readable:
    """A command or group whose help reads well.

    Paragraphs flow, examples stand out, `--help` comes last, and what takes no value has no type.
    """

    help: Any

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.help = _flowing(self.help)

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, as the help lists them."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        if len(parameters) > 1:  # --help is the last; Typer would print its own group first
            parameters[-1].rich_help_panel = parameters[-2].rich_help_panel
        return parameters


class Command(_Readable, TyperCommand):
    """A command; a file whose name begins with a dash gets advice, and what is empty is refused."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the command line."""
        given = list(args)
        if "" in given:  # to pathlib it would be the current folder
            raise UserError("an argument is empty: give a name, or leave its option out")
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # whatever Typer calls a usage error
            dashed = next((word for word in given if _DASHED.fullmatch(word)), None)
            if getattr(error, "exit_code", None) == 2 and dashed:
                raise UserError(f"{dashed} reads like an option: write ./{dashed}") from error
            raise


class Group(_Readable, TyperGroup):
    """A group of commands; a recording in place of a command is told where it belongs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names."""
        word = args[0]
        first = ctx.parent is None and not ctx.resilient_parsing  # that is, while completing
        is_recording = Path(word).exists() or _RECORDING.search(word)
        if first and is_recording and self.get_command(ctx, word) is None:
            raise UserError(f"{word} is no command: did you mean `denoise clean {word}`?")
        return super().resolve_command(ctx, args)


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
