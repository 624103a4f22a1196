"""What a checkpoint says about itself: its network, its training and the figures it reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from rich.console import Console

from audio_denoising.errors import UserError, counted
from audio_denoising.models import VERSIONS
from audio_denoising.models.header import Checkpoint
from audio_denoising.training.options import TrainingOptions, option_name
from audio_denoising.training.progress import duration, figures_of
from audio_denoising.training.resume import completed

_APART = ("version", "size", "speech_weights", "noise_weights")  # told by other lines
_PLACES = ("speech", "noise", "rooms", "device", "processes")  # likewise


def print_description(console: Console, checkpoint: Checkpoint) -> None:
    """Prints all that is worth knowing before one uses a checkpoint or trains on from it.

    Raises:
        UserError: the file holds something else where this program keeps its records.
    """
    try:
        facts = dict(_facts(checkpoint))
        settings = list(_settings(checkpoint))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{checkpoint.path} does not keep its records as this program does: use another copy"
        ) from error
    console.print(str(checkpoint.path), style="bold", markup=False, soft_wrap=True)
    for name, text in facts.items():
        console.print(f"{name:>10}: {_plain(text)}", markup=False, soft_wrap=True)
    console.print("Options of this run (* not the default)", style="bold")
    for option, value, is_default in settings:
        mark = " " if is_default else "*"
        console.print(f"{mark} {option:<15} {_plain(value)}", markup=False, soft_wrap=True)


def _facts(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """What the file is, how far its run has come, and where from."""
    content, rows, state = checkpoint.content, checkpoint.history, checkpoint.model_state
    version, options = VERSIONS[checkpoint.version], content.get("options", {})
    count = sum(prod(w.shape) for name, w in state.items() if ".running_" not in name)
    yield (
        "network",
        f"{checkpoint.version}-{checkpoint.size}, {count:,} parameters; loss {version.loss}, "
        f"optimiser {version.optimiser}, engine {version.engine}",
    )
    kinds = ", ".join(sorted({str(w.dtype) for w in state.values()}))
    use = "to clean with and to resume" if "optimiser" in content else "to clean with"
    yield "file", f"{checkpoint.path.stat().st_size / 1e6:.1f} MB in {kinds}, {use}"
    steps = int(content.get("position", {}).get("step", 0))
    epochs = options.get("epochs")
    done = f"{len(rows)} of {counted(epochs, 'epoch')}" if epochs else counted(len(rows), "epoch")
    total = f" ({checkpoint.steps:,} with the runs before it)" if checkpoint.steps > steps else ""
    yield "trained", f"{done}, {counted(steps, 'step')}{total}, {duration(rows)}"
    if rows:
        yield "validation", figures_of(rows[-1])
        best = max(rows, key=lambda row: float(row["validation_si_sdr"]))
        if best is not rows[-1]:
            yield "best", figures_of(best)
    if content.get("licence"):
        yield "licence", str(content["licence"])
    place = content.get("place")
    if place:
        settings = [
            option_name(name) if value is True else f"{option_name(name)} {value}"
            for name, value in place.items()
            if name not in _PLACES and value is not None and value is not False
        ]
        among = f", in {place['processes']} processes" if place["processes"] > 1 else ""
        yield "computed", f"on {place['device']}{among}: {', '.join(settings)}"
    for number, run in enumerate(content.get("earlier", []), 1):  # the first run first
        yield f"before, {number}", _earlier(run["epochs"], run["options"])
    for what in ("speech", "noise"):
        weights, folders = options.get(f"{what}_weights"), (place or {}).get(what)
        if weights or folders:
            yield (
                what,
                _shares(folders or [f"folder {n + 1}" for n in range(len(weights))], weights),
            )


def _earlier(rows: Sequence[dict[str, Any]], options: dict[str, Any]) -> str:
    """A run whose weights this one started from."""
    rate = f", --lr {options['learning_rate']:g}" if "learning_rate" in options else ""
    if not rows:
        return f"-{rate}"
    steps = counted(rows[-1]["step"], "step")
    return f"{counted(len(rows), 'epoch')}, {steps}, {duration(rows)}{rate}; {figures_of(rows[-1])}"


def _shares(folders: Sequence[str], weights: Sequence[float | None] | None) -> str:
    """How often each folder was drawn, such as "75 % a, 25 % b"."""
    known = [float(weight) for weight in weights or () if weight is not None]
    if len(folders) == 1:
        return folders[0]
    if len(known) < len(folders):
        return f"{', '.join(folders)}, by their hours"
    shares = (f"{100 * weight / sum(known):.0f} %" for weight in known)
    return ", ".join(f"{share} {folder}" for share, folder in zip(shares, folders, strict=True))


def _settings(checkpoint: Checkpoint) -> Iterator[tuple[str, str, bool]]:
    """Every option that decides the result: its name, its value, whether that is the default."""
    default = TrainingOptions(checkpoint.version).as_dict()
    stored = completed(checkpoint.content.get("options", {}), checkpoint.version)
    for name in default:
        if name not in _APART:
            value = stored[name]
            told = ", ".join(value) if isinstance(value, list) else value
            shown = "-" if told is None else str(told)
            yield option_name(name), shown, value == default[name]


def _plain(text: str) -> str:
    """A stranger's file may hold what a terminal would obey."""
    return text if text.isprintable() else ascii(text)
