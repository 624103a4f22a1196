"""The `denoise train` command: a version, its material and its settings to trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from audio_denoising.cli.config import from_file
from audio_denoising.cli.options import (
    DATA,
    NOISES,
    SPEECHES,
    HoldOut,
    Noises,
    Speeches,
    TrainCache,
    device_option,
)
from audio_denoising.errors import UserError

console = Console(highlight=False, emoji=False)

_MODEL, _OPTIMISATION = "Model", "Optimisation"
_COST, _RUN, _WATCHING = "Saving memory and time", "Run and files", "Watching"
_OWN = "the version's own"


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
        typer.Option(
            help="What else happens to a mixture of speech and noise: nothing, at 0 to 15 dB "
            "(original) or -3 to 27 dB (wide), or rooms, filters, levels and more (varied). v5 has "
            "a preset of its own (rich): babble, coloured noise, pauses and more besides.",
            metavar="PRESET",
            show_default=_OWN,
            rich_help_panel=DATA,
        ),
    ] = None,
    cache: TrainCache = None,
    rooms: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of impulse responses of rooms, for v5; may be repeated.",
            metavar="DIR",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="How wide the network is; base is v5's.",
            metavar="small|base|large",
            show_default=_OWN,
            rich_help_panel=_MODEL,
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            help="Weights to begin with, in place of random ones (fine-tuning).",
            metavar="VERSION|FILE",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Rounds of training; each ends with a validation.",
            metavar="N",
            show_default=_OWN,
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    epoch_size: Annotated[
        int | None,
        typer.Option(
            help="Mixtures in one epoch.",
            metavar="N",
            show_default="one for every speech file; v5: 8000",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Mixtures behind one step, an update of all weights.",
            metavar="N",
            show_default=_OWN,
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    clip_seconds: Annotated[
        float | None,
        typer.Option(
            help="Length of a mixture, for v5; those of the other versions are images of 2.55 s.",
            metavar="SECONDS",
            show_default=_OWN,
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate: how far a step goes.",
            metavar="RATE",
            show_default=_OWN,
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="The learning rate stays (constant), falls to 0 in the last quarter (linear-end) "
            "or along half a cosine (cosine). A constant run may be resumed with linear-end.",
            metavar="KIND",
            show_default=_OWN,
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(
            help="Steps in which the learning rate rises from 0.",
            metavar="STEPS",
            show_default=_OWN,
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    momentum: Annotated[
        float,
        typer.Option(
            help="Share of the last step that goes into the next one, in v2 and v3 (SGD).",
            metavar="SHARE",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = 0.9,
    clip_norm: Annotated[
        float | None,
        typer.Option(
            help="Shorten gradients whose norm over all weights is above this; 0: never.",
            metavar="NORM",
            show_default=_OWN,
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            help="Validate and keep an average of the weights over past steps that forgets at "
            "this rate, such as 0.999; 0: keep the last weights.",
            metavar="RATE",
            show_default=_OWN,
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            help="Stop after so many epochs without a better validation; 0: never.",
            metavar="EPOCHS",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = 0,
    seed: Annotated[
        int,
        typer.Option(
            help="Decides first weights, order and mixtures.",
            metavar="N",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = 0,
    accumulate: Annotated[
        int,
        typer.Option(
            help="Compute a batch in so many parts: less memory, the same step.",
            metavar="PARTS",
            rich_help_panel=_COST,
        ),
    ] = 1,
    recompute: Annotated[
        bool,
        typer.Option(
            help="Forget inner results and compute them again: less memory, more time.",
            show_default=False,
            rich_help_panel=_COST,
        ),
    ] = False,
    device: Annotated[str, device_option(_COST)] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            help="Processor threads that compute.",
            metavar="N",
            show_default="all",
            rich_help_panel=_COST,
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            help="Processes that decode audio meanwhile; 0: decode in between.",
            metavar="N",
            rich_help_panel=_COST,
        ),
    ] = 1,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with any of these options, such as examples/train_v4.toml; its paths "
            "are relative to the current folder. What the command line says wins.",
            metavar="FILE",
            show_default=False,
            is_eager=True,
            callback=from_file,
            rich_help_panel=_RUN,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for checkpoints, history and curves.",
            metavar="DIR",
            show_default="runs/VERSION-SIZE",
            rich_help_panel=_RUN,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(help="Continue the run in --out.", show_default=False, rich_help_panel=_RUN),
    ] = False,
    save_every: Annotated[
        float,
        typer.Option(
            help="Time between checkpoints: what a power cut may cost.",
            metavar="SECONDS",
            rich_help_panel=_RUN,
        ),
    ] = 120.0,
    tensorboard: Annotated[
        bool,
        typer.Option(
            help="Write figures, pictures and sound for TensorBoard to OUT/tensorboard.",
            show_default=False,
            rich_help_panel=_WATCHING,
        ),
    ] = False,
    profile: Annotated[
        bool,
        typer.Option(
            help="Tell which operators two early steps spend time on; trace in OUT/profile.json.",
            show_default=False,
            rich_help_panel=_WATCHING,
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
    from audio_denoising.models.shipped import locate
    from audio_denoising.training.options import RunPlace, TrainingOptions
    from audio_denoising.training.run_folder import RunFolder

    spoken, noises = parse_sources(speech, "--speech"), parse_sources(noise, "--noise")
    own: dict[str, Any] = {
        "size": size,
        "epochs": epochs,
        "batch_size": batch_size,
        "epoch_size": epoch_size,
        "clip_seconds": clip_seconds,
        "learning_rate": lr,
        "schedule": schedule,
        "warmup_steps": warmup,
        "clip_norm": clip_norm,
        "ema": ema,
        "augmentation": augment,
    }
    options = TrainingOptions(
        version=version,
        momentum=momentum,
        patience=patience,
        seed=seed,
        start_from=start_from,
        hold_out=hold_out or None,
        speech_weights=weights_of(spoken),
        noise_weights=weights_of(noises),
        **own,
    )
    if threads is not None and threads < 1:
        raise UserError("--threads must be above 0")
    out = out or Path("runs") / f"{options.version}-{options.size}"
    voices, sounds = ([source.place for source in found] for found in (spoken, noises))
    place = RunPlace(
        voices,
        sounds,
        out,
        device,
        workers,
        resume,
        cache,
        accumulate,
        recompute,
        save_every,
        rooms or (),
    )
    require_folders(spoken, noises)
    if not RunFolder(out).resumes(resume) and start_from:
        locate(start_from)

    import torch  # from here on it takes its time

    from audio_denoising.training.session import run

    if threads is not None:
        torch.set_num_threads(threads)
    run(options, place, console, tensorboard=tensorboard, profile=profile)
