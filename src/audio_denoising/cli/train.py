"""The `denoise train` command: a version, its material and its settings to trained weights."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from audio_denoising.cli import train_options as ask
from audio_denoising.cli.data_options import NOISES, SPEECHES, Cache, HoldOut, Noises, Speeches
from audio_denoising.errors import UserError

console = Console(highlight=False, emoji=False)


def _from_file(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None:
        from audio_denoising.cli.config import from_file

        from_file(context, path)
    return path


def train(
    version: ask.Version,
    speech: Speeches = SPEECHES,
    noise: Noises = NOISES,
    hold_out: HoldOut = None,
    augmentation: ask.Augmentation = None,
    cache: Cache = None,
    rooms: ask.Rooms = None,
    size: ask.Size = None,
    start_from: ask.StartFrom = None,
    epochs: ask.Epochs = None,
    epoch_size: ask.EpochSize = None,
    batch_size: ask.BatchSize = None,
    clip_seconds: ask.ClipSeconds = None,
    learning_rate: ask.LearningRate = None,
    schedule: ask.Schedule = None,
    warmup_steps: ask.WarmupSteps = None,
    momentum: ask.Momentum = 0.9,
    clip_norm: ask.ClipNorm = None,
    ema: ask.Ema = None,
    perceptual: ask.Perceptual = 0.0,
    patience: ask.Patience = 0,
    seed: ask.Seed = 0,
    accumulate: ask.Accumulate = 1,
    recompute: ask.Recompute = False,
    device: ask.Device = "auto",
    threads: ask.Threads = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with any of these options, such as examples/train_v4.toml; its paths "
            "are relative to the current folder. What the command line says wins.",
            metavar="FILE",
            show_default=False,
            is_eager=True,
            callback=_from_file,
            rich_help_panel=ask.RUN,
        ),
    ] = None,
    out: ask.Out = None,
    resume: ask.Resume = False,
    save_seconds: ask.SaveSeconds = 120.0,
    tensorboard: ask.Tensorboard = False,
    profile: ask.Profile = False,
) -> None:
    """Train a version on speech that is mixed with noise on the fly.

    Examples:
      denoise train v4 --size small
      denoise train v4 --speech my/voices --noise my/noise --epochs 20
      denoise train v4 --config examples/train_v4.toml
      denoise train v5 --speech my/voices --noise my/noise --cache my/banks
    """
    given: dict[str, Any] = dict(locals())  # by the names of the attributes that they become

    from audio_denoising.corpora.sources import parse_sources, require_folders, weights_of
    from audio_denoising.training.options import RunPlace, TrainingOptions

    spoken, noises = parse_sources(speech, "--speech"), parse_sources(noise, "--noise")
    if threads is not None and threads < 1:
        raise UserError("--threads must be above 0")
    given |= {
        "hold_out": hold_out or None,
        "speech_weights": weights_of(spoken),
        "noise_weights": weights_of(noises),
        "speech": [each.place for each in spoken],
        "noise": [each.place for each in noises],
        "rooms": rooms or (),
    }
    options = TrainingOptions(**_own(TrainingOptions, given))
    given["out"] = out or Path("runs") / f"{options.version}-{options.size}"
    place = RunPlace(**_own(RunPlace, given))
    require_folders(spoken, noises)

    from audio_denoising.training.run import run

    run(options, place, console, threads=threads, tensorboard=tensorboard, profile=profile)


def _own(kind: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What is given of the attributes of a dataclass."""
    return {each.name: given[each.name] for each in fields(kind)}
