"""The `denoise train` command: a version, its material and its settings to trained weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from audio_denoising.cli.data_options import (
    DATA,
    NOISES,
    SPEECHES,
    Cache,
    HoldOut,
    Noises,
    Speeches,
)
from audio_denoising.cli.options import device_option, option
from audio_denoising.errors import UserError

console = Console(highlight=False, emoji=False)

COST, RUN = "Saving memory and time", "Run and files"
OWN = "the version's own"


_data, _model = partial(option, DATA), partial(option, "Model")
_steps, _cost = partial(option, "Optimisation"), partial(option, COST)
_run, _watch = partial(option, RUN), partial(option, "Watching")


def _from_file(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None:
        from audio_denoising.cli.config import from_file

        from_file(context, path)
    return path


def train(
    version: Annotated[
        str,
        typer.Argument(
            help="v2, v3, v4, torch or v5: `denoise models` tells how they differ.",
            metavar="VERSION",
        ),
    ],
    speech: Speeches = SPEECHES,
    noise: Noises = NOISES,
    hold_out: HoldOut = None,
    augment: Annotated[
        str | None,
        _data(
            "What else happens to a mixture of speech and noise: nothing, at 0 to 15 dB "
            "(original) or -3 to 27 dB (wide), or rooms, filters, levels and more (varied). v5 has "
            "a preset of its own (rich): babble, coloured noise, pauses and more besides.",
            "PRESET",
            OWN,
        ),
    ] = None,
    cache: Cache = None,
    rooms: Annotated[
        list[Path] | None,
        _data("Folder of impulse responses of rooms, for v5; may be repeated.", "DIR", False),
    ] = None,
    size: Annotated[
        str | None, _model("How wide the network is; base is v5's.", "small|base|large", OWN)
    ] = None,
    start_from: Annotated[
        str | None,
        _model(
            "Weights to begin with, in place of random ones (fine-tuning).", "VERSION|FILE", False
        ),
    ] = None,
    epochs: Annotated[
        int | None, _steps("Rounds of training; each ends with a validation.", "N", OWN)
    ] = None,
    epoch_size: Annotated[
        int | None, _steps("Mixtures in one epoch.", "N", "one for every speech file; v5: 8000")
    ] = None,
    batch_size: Annotated[
        int | None, _steps("Mixtures behind one step, an update of all weights.", "N", OWN)
    ] = None,
    clip_seconds: Annotated[
        float | None,
        _steps(
            "Length of a mixture, for v5; those of the other versions are images of 2.55 s.",
            "SECONDS",
            OWN,
        ),
    ] = None,
    lr: Annotated[float | None, _steps("Learning rate: how far a step goes.", "RATE", OWN)] = None,
    schedule: Annotated[
        str | None,
        _steps(
            "The learning rate stays (constant), falls to 0 in the last quarter (linear-end) "
            "or along half a cosine (cosine). A constant run may be resumed with linear-end.",
            "KIND",
            OWN,
        ),
    ] = None,
    warmup: Annotated[
        int | None, _steps("Steps in which the learning rate rises from 0.", "STEPS", OWN)
    ] = None,
    momentum: Annotated[
        float,
        _steps("Share of the last step that goes into the next one, in v2 and v3 (SGD).", "SHARE"),
    ] = 0.9,
    clip_norm: Annotated[
        float | None,
        _steps(
            "Shorten gradients whose norm over all weights is above this; 0: never.", "NORM", OWN
        ),
    ] = None,
    ema: Annotated[
        float | None,
        _steps(
            "Validate and keep an average of the weights over past steps that forgets at "
            "this rate, such as 0.999; 0: keep the last weights.",
            "RATE",
            OWN,
        ),
    ] = None,
    perceptual: Annotated[
        float,
        _steps(
            "Weight of what PESQ hears in v5's loss, such as 1. May be changed where a constant "
            "run is resumed with linear-end.",
            "WEIGHT",
        ),
    ] = 0.0,
    patience: Annotated[
        int, _steps("Stop after so many epochs without a better validation; 0: never.", "EPOCHS")
    ] = 0,
    seed: Annotated[int, _steps("Decides first weights, order and mixtures.", "N")] = 0,
    accumulate: Annotated[
        int, _cost("Compute a batch in so many parts: less memory, the same step.", "PARTS")
    ] = 1,
    recompute: Annotated[
        bool,
        _cost(
            "Forget inner results and compute them again: less memory, more time.", default=False
        ),
    ] = False,
    device: Annotated[str, device_option(COST)] = "auto",
    threads: Annotated[int | None, _cost("Processor threads that compute.", "N", "all")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with any of these options, such as examples/train_v4.toml; its paths "
            "are relative to the current folder. What the command line says wins.",
            metavar="FILE",
            show_default=False,
            is_eager=True,
            callback=_from_file,
            rich_help_panel=RUN,
        ),
    ] = None,
    out: Annotated[
        Path | None, _run("Folder for checkpoints, history and curves.", "DIR", "runs/VERSION-SIZE")
    ] = None,
    resume: Annotated[bool, _run("Continue the run in --out.", default=False)] = False,
    save_every: Annotated[
        float, _run("Time between checkpoints: what a power cut may cost.", "SECONDS")
    ] = 120.0,
    tensorboard: Annotated[
        bool,
        _watch(
            "Write figures, pictures and sound for TensorBoard to OUT/tensorboard.", default=False
        ),
    ] = False,
    profile: Annotated[
        bool,
        _watch(
            "Tell which operators two early steps spend time on; trace in OUT/profile.json.",
            default=False,
        ),
    ] = False,
) -> None:
    """Train a version on speech that is mixed with noise on the fly.

    Examples:
      denoise train v4 --size small
      denoise train v4 --speech my/voices --noise my/noise --epochs 20
      denoise train v4 --config examples/train_v4.toml
      denoise train v5 --speech my/voices --noise my/noise --cache my/banks
    """
    from audio_denoising.corpora.sources import parse_sources, require_folders, weights_of
    from audio_denoising.training.options import RunPlace, TrainingOptions

    spoken, noises = parse_sources(speech, "--speech"), parse_sources(noise, "--noise")
    chosen: dict[str, Any] = {  # None is what the version has
        "size": size,
        "epochs": epochs,
        "batch_size": batch_size,
        "clip_seconds": clip_seconds,
        "learning_rate": lr,
        "schedule": schedule,
        "warmup_steps": warmup,
        "clip_norm": clip_norm,
        "ema": ema,
        "augmentation": augment,
    }
    options = TrainingOptions(
        version,
        epoch_size=epoch_size,
        momentum=momentum,
        patience=patience,
        perceptual=perceptual,
        seed=seed,
        start_from=start_from,
        hold_out=hold_out or None,
        speech_weights=weights_of(spoken),
        noise_weights=weights_of(noises),
        **chosen,
    )
    if threads is not None and threads < 1:
        raise UserError("--threads must be above 0")
    place = RunPlace(
        [source.place for source in spoken],
        [source.place for source in noises],
        out or Path("runs") / f"{options.version}-{options.size}",
        device,
        resume,
        cache,
        accumulate,
        recompute,
        save_every,
        rooms or (),
    )
    require_folders(spoken, noises)

    from audio_denoising.training.run import run

    run(options, place, console, threads=threads, tensorboard=tensorboard, profile=profile)
