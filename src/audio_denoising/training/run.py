"""A training run as `denoise train` starts it: in all its processes, with everyone who watches."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from rich.console import Console

from audio_denoising.corpora.shard_urls import shard_urls
from audio_denoising.corpora.sources import audio_files, is_shards, require_recordings
from audio_denoising.errors import UserNotice
from audio_denoising.files import single_run
from audio_denoising.training.options import ALONE, RunPlace, TrainingOptions, require_batch
from audio_denoising.training.progress import TrainingDisplay, Watcher
from audio_denoising.training.resume import require_usable
from audio_denoising.training.run_folder import RunFolder


def run(
    options: TrainingOptions,
    place: RunPlace,
    console: Console,
    *,
    threads: int | None = None,
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

    # What can be refused is refused before torch is loaded.
    place.check(options, int(os.environ.get("WORLD_SIZE", "1")))
    if is_shards(str(place.speech[0])):
        for shards in (*place.speech, *place.noise):
            shard_urls(str(shards))
    elif options.hold_out:
        from audio_denoising.corpora.names import require_held_out  # and NumPy with it

        require_held_out(options.hold_out, place.speech, place.noise)
    for room in place.rooms:
        require_recordings(Path(room), "rooms")
    folder = RunFolder(place.out)
    if folder.resumes(place.resume) or options.start_from is not None:
        require_usable(folder, options)
    with ExitStack() as stack:
        processes = ALONE
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from audio_denoising.training.distributed import joined

            processes = stack.enter_context(joined())
        if processes.leads:
            stack.enter_context(single_run(place.out))
        if options.epoch_size is None and not is_shards(str(place.speech[0])):
            found = (file for each in place.speech for file in audio_files(Path(each).resolve()))
            require_batch(sum(1 for _ in islice(found, options.batch_size)), options.batch_size)

        import torch

        from audio_denoising.training.trainer import Trainer

        if threads is not None:
            torch.set_num_threads(threads)
        if not processes.leads:
            warnings.simplefilter("ignore", UserNotice)
            Trainer(options, place, processes=processes).run()
            return
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
