"""The `denoise` command: reads the arguments, calls the package, prints what happened.

Of the commands only the one that is called is imported, and what is heavy only inside of it, so
that an answer comes at once.
"""

from __future__ import annotations

import io
import signal
import sys
import warnings
from importlib import import_module
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from audio_denoising import __version__
from audio_denoising.cli.options import Command, Group
from audio_denoising.errors import UserNotice, told

console = Console(highlight=False, emoji=False)

# By the panels of the help, command -> the file in this folder that has it, as a function.
_PANELS = {
    "Denoise": {
        "clean": "clean", "live": "live", "serve": "page", "page": "page", "models": "models",
    },
    "Compare and measure": {"compare": "compare", "evaluate": "evaluate", "verify": "verify"},
    "Train": {"train": "train", "export": "export"},
}  # fmt: skip


def commands(called: str | None = None) -> typer.Typer:
    """The program with all commands, or with the one that is called, if there is such a one."""
    app = typer.Typer(
        cls=Group,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback(invoke_without_command=True)(main_options)
    known = {"data"}.union(*_PANELS.values())
    for panel, files in _PANELS.items():
        for name, file in files.items():
            if called == name or called not in known:
                module = import_module(f"audio_denoising.cli.{file}")
                app.command(cls=Command, rich_help_panel=panel)(getattr(module, name))
    if called == "data" or called not in known:
        from audio_denoising.cli.data import data_app

        app.add_typer(data_app, name="data", rich_help_panel="Data")
    return app


def main_options(
    context: typer.Context,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show where an error comes from; goes with every command."),
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Remove noise from speech with networks written from scratch.

    Examples:
      denoise clean examples/noisy_street.wav
      denoise clean --help
    """
    if version:
        console.print(f"audio-denoising {__version__}")
    elif context.invoked_subcommand is None:
        console.print(context.get_help())


def _terminated(number: int, frame: FrameType | None) -> None:
    """Leaves as after Ctrl-C: what is half-written is taken away on the way out."""
    sys.exit(128 + number)


_with_its_place = warnings.formatwarning


def _formatted(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
    """A notice is told without the line of code that gave it."""
    if issubclass(category, UserNotice):
        return f"Warning: {message}\n"
    return _with_its_place(message, category, *place, **more)


def _take(flag: str, arguments: list[str]) -> bool:
    """Whether the flag is among the arguments, wherever; it is not any more, then."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found = flag in arguments[:end]
    if found:
        arguments.remove(flag)
    return found


def main() -> None:
    """Entry point: a `UserError` becomes one sentence and exit code 2, any other error 1."""
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as by nohup
            signal.signal(number, _terminated)
    warnings.formatwarning = _formatted
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may hold what the terminal's encoding does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    debug = _take("--debug", arguments)
    try:
        called = next((word for word in arguments if not word.startswith("-")), None)
        commands(called)(args=arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        sentence, expected = told(error, "the same command with --debug")
        console = Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)
        console.print(f"Error: {sentence}")
        sys.exit(2 if expected else 1)
