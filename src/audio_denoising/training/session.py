"""A training run as `denoise train` starts it: in all its processes, with everyone who watches."""

from __future__ import annotations

from contextlib import ExitStack

from rich.console import Console

from audio_denoising.corpora.single_run import single_run
from audio_denoising.training.distributed import joined
from audio_denoising.training.options import RunPlace, TrainingOptions
from audio_denoising.training.progress import TrainingDisplay
from audio_denoising.training.reporting import Reporter, Reporters
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

    Args:
        tensorboard: whether figures, pictures and sound are logged in the run's folder.
        profile: whether the first steps are profiled.

    Raises:
        UserError: another run is at work in the same folder; see `Trainer`, `TensorBoardReporter`
            and `ProfileReporter` for the rest.
    """
    with joined() as processes, ExitStack() as stack:
        if processes.leads:
            stack.enter_context(single_run(place.out))
        watching: list[Reporter] = []
        if processes.leads and tensorboard:
            from audio_denoising.training.tensorboard import TensorBoardReporter

            logs = TensorBoardReporter(place.out / "tensorboard", options)
            watching.append(stack.enter_context(logs))
        if processes.leads and profile:
            from audio_denoising.training.profiler import ProfileReporter

            trace = ProfileReporter(
                place.out / "profile.json",
                lambda text: console.print(text, markup=False, soft_wrap=True),
            )
            watching.append(stack.enter_context(trace))
        if processes.leads:  # last, so that its summary is the end of all that is told
            display = TrainingDisplay(console, options, place.out)
            watching.append(stack.enter_context(display))
        finished = Trainer(options, place, Reporters(*watching), processes).run()
    if not finished and processes.leads:
        console.print(
            f"Stopped and saved: go on with the same command and --resume ({place.out})",
            markup=False,
            soft_wrap=True,
        )
