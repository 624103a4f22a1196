"""A training run as `denoise train` starts it: in all its processes, with everyone who watches."""

from __future__ import annotations

import os
from contextlib import ExitStack

from rich.console import Console

from audio_denoising.folders import single_run
from audio_denoising.training.options import ALONE, RunPlace, TrainingOptions
from audio_denoising.training.progress import TrainingDisplay, Watcher
from audio_denoising.training.trainer import Trainer


def run(
    options: TrainingOptions,
    place: RunPlace,
    console: Console,
    *,
    tensorboard: bool = False,
    profile: bool = False,
) -> None:
    """Trains to the end, or until somebody stops it; under torchrun the first process alone talks.

    Raises:
        UserError: another run is at work in the same folder; see `Trainer`, `TensorBoardLog`
            and `StepProfile` for the rest.
    """

    def tell(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    with ExitStack() as stack:
        processes = ALONE
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from audio_denoising.training.distributed import joined

            processes = stack.enter_context(joined())
        if not processes.leads:
            Trainer(options, place, processes=processes).run()
            return
        stack.enter_context(single_run(place.out))
        watchers: list[Watcher] = []
        if tensorboard:
            from audio_denoising.training.tensorboard import TensorBoardLog

            watchers.append(TensorBoardLog(place.out / "tensorboard"))
        if profile:
            from audio_denoising.training.profiler import StepProfile

            watchers.append(StepProfile(place.out / "profile.json", tell))
        # Last, so that its summary is the end of all that is told.
        watchers.append(TrainingDisplay(console))
        if not Trainer(options, place, watchers, processes).run():
            tell(f"Stopped and saved: go on with the same command and --resume ({place.out})")
