"""What a checkpoint says about itself: its network, its training and the figures it reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from audio_denoising.counting import counted
from audio_denoising.errors import UserError
from audio_denoising.models import VERSIONS
from audio_denoising.models.checkpoint import Checkpoint
from audio_denoising.training.history import Row
from audio_denoising.training.options import TrainingOptions, completed, option_name
from audio_denoising.training.progress import duration

_APART = ("version", "size", "speech_weights", "noise_weights")  # told by other lines
_PLACES = ("speech", "noise", "rooms", "device", "processes")  # likewise


def print_description(console: Console, checkpoint: Checkpoint) -> None:
    """Prints all that is worth knowing before one uses a checkpoint or trains on from it.

    Raises:
        UserError: the file holds something else where this program keeps its records.
    """
    try:
        facts = {
            **_network(checkpoint),
            **_training(checkpoint),
            **_origins(checkpoint.content.get("earlier", [])),
            **_data(checkpoint.content),
        }
        settings = _settings(checkpoint.content)
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


def _network(checkpoint: Checkpoint) -> dict[str, str]:
    """What the file is."""
    weights = checkpoint.model_state.values()
    learned = [w for name, w in checkpoint.model_state.items() if ".running_" not in name]
    precisions = sorted({str(weight.dtype).removeprefix("torch.") for weight in weights})
    row = VERSIONS[checkpoint.version]
    use = "to clean with and to resume" if "optimiser" in checkpoint.content else "to clean with"
    return {
        "network": f"{checkpoint.version}-{checkpoint.size}, "
        f"{sum(weight.numel() for weight in learned):,} parameters; loss {row.loss}, optimiser "
        f"{row.optimiser}, engine {row.engine}",
        "file": f"{checkpoint.path.stat().st_size / 1e6:.1f} MB in {', '.join(precisions)}, {use}",
    }


def _training(checkpoint: Checkpoint) -> dict[str, str]:
    """How far the run has come, and where it stands."""
    content, rows = checkpoint.content, checkpoint.history
    steps = int(content.get("position", {}).get("step", 0))
    epochs = content.get("options", {}).get("epochs")
    trained = (
        f"{len(rows)} of {counted(epochs, 'epoch')}" if epochs else counted(len(rows), "epoch")
    )
    total = f" ({checkpoint.steps:,} with the runs before it)" if checkpoint.steps > steps else ""
    facts = {"trained": f"{trained}, {counted(steps, 'step')}{total}, {_time(rows)}"}
    if rows:
        facts["validation"] = _figures(rows[-1])
        best = max(rows, key=lambda row: float(row["validation_si_sdr"]))
        if best is not rows[-1]:
            facts["best"] = _figures(best)
    place = content.get("place")
    if content.get("licence"):
        facts["licence"] = str(content["licence"])
    if place:
        settings = [
            option_name(name) if value is True else f"{option_name(name)} {value}"
            for name, value in place.items()
            if name not in _PLACES and value is not None and value is not False
        ]
        count = place["processes"]
        among = f", in {count} processes" if count > 1 else ""
        facts["computed"] = f"on {place['device']}{among}: {', '.join(settings)}"
    return facts


def _origins(earlier: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The runs whose weights this one started from, the first run first."""
    facts = {}
    for number, run in enumerate(earlier, 1):
        rows, options = run["epochs"], run["options"]
        done = "-"
        if rows:
            epochs, steps = counted(len(rows), "epoch"), counted(rows[-1]["step"], "step")
            done = f"{epochs}, {steps}, {_time(rows)}"
        rate = f", --lr {options['learning_rate']:g}" if "learning_rate" in options else ""
        facts[f"before, {number}"] = f"{done}{rate}" + (f"; {_figures(rows[-1])}" if rows else "")
    return facts


def _data(content: Mapping[str, Any]) -> dict[str, str]:
    """What was drawn from, and how often."""
    facts = {}
    options, place = content.get("options", {}), content.get("place", {})
    for what in ("speech", "noise"):
        weights, folders = options.get(f"{what}_weights"), place.get(what)
        if not (weights or folders):
            continue
        folders = folders or [f"folder {number}" for number, _ in enumerate(weights, 1)]
        facts[what] = _shares(folders, weights or [])
    return facts


def _shares(folders: Sequence[str], weights: Sequence[float | None]) -> str:
    """How often each folder was drawn, such as "75 % a, 25 % b"."""
    known = [float(weight) for weight in weights if weight is not None]
    if len(folders) == 1:
        return folders[0]
    if len(known) < len(folders):
        return f"{', '.join(folders)}, by their hours"
    shares = (f"{100 * weight / sum(known):.0f} %" for weight in known)
    return ", ".join(f"{share} {folder}" for share, folder in zip(shares, folders, strict=True))


def _settings(content: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Every option that decides the result: its name, its value, whether that is the default."""
    version = content["version"]
    default = TrainingOptions(version).as_dict()
    stored = completed(content.get("options", {}), version)
    settings = []
    for name in default:
        if name not in _APART:
            value = stored[name]
            told = ", ".join(value) if isinstance(value, list) else value
            settings.append(
                (option_name(name), "-" if told is None else str(told), value == default[name])
            )
    return settings


def _figures(row: Row) -> str:
    return (
        f"epoch {row['epoch']}: SI-SDR {row['validation_si_sdr']:.2f} dB "
        f"({row['validation_si_sdr_gain']:+.2f} dB gain over the noisy input), "
        f"PSNR {row['validation_psnr']:.2f} dB, loss {row['validation_loss']:.4f}"
    )


def _time(rows: Sequence[Row]) -> str:
    return duration(sum(float(row["train_seconds"]) for row in rows))


def _plain(text: str) -> str:
    """A stranger's file may hold what a terminal would obey."""
    return text if text.isprintable() else ascii(text)
