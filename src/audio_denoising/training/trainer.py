"""The training loop: mixtures in, weights and their history out, stoppable at any step.

The state of a run is saved after every epoch and every few minutes. Every mixture is a function of
the seed and the step alone (from tar shards: of the number of processes too), so a resumed run sees
what an uninterrupted one would have seen.

Under torchrun every process runs this loop on its share of every batch. What decides where the loop
goes (losses, the wish to stop, validation) is added up over all of them first, so that all go the
same way; the first one alone writes files.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import takewhile
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from audio_denoising.corpora.sources import is_shards
from audio_denoising.device import pick_device
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.nn import MovingAverage, Schedule, take_statistics
from audio_denoising.nn.memory import release
from audio_denoising.training.learner import build_learner
from audio_denoising.training.material import Material
from audio_denoising.training.options import (
    ALONE,
    Processes,
    RunPlace,
    TrainingOptions,
    require_batch,
)
from audio_denoising.training.progress import Watcher
from audio_denoising.training.resume import restore, start_from
from audio_denoising.training.run_folder import Row, RunFolder, content_of
from audio_denoising.training.validation import Validation

SKIPPED_IN_A_ROW = 5  # steps


@dataclass
class Tally:
    """Sums over the steps of the running epoch; a skipped step counts for nothing but itself."""

    loss: float = 0.0
    psnr: float = 0.0
    taken: int = 0  # steps
    skipped: int = 0
    seconds: float = 0.0

    @property
    def mean_loss(self) -> float:
        """0 where no step was taken."""
        return self.loss / max(1, self.taken)

    @property
    def mean_psnr(self) -> float:
        """In dB, likewise."""
        return self.psnr / max(1, self.taken)


class Trainer:
    """One run. `run()` returns True when it has come to its end, False when it was interrupted.

    Its public attributes are what watchers read: options, place, device, material, `steps` of an
    epoch, where the run stands (epoch, batch, step, tally), history, licence. Of several processes
    each has a trainer of its own, and the first alone has watchers.

    Raises:
        UserError: no usable speech or noise, an unwritable folder, a checkpoint that does not
            belong to this run, a batch that the processes cannot share, or gradients that are not
            numbers any more.
    """

    def __init__(
        self,
        options: TrainingOptions,
        place: RunPlace,
        watchers: Sequence[Watcher] = (),
        processes: Processes = ALONE,
    ) -> None:
        self.options = options
        self.place = place
        self.watchers = watchers
        self.processes = processes
        place.check(options, processes.count)  # or the run ends here
        device = place.device
        if processes.count > 1:
            from audio_denoising.training.distributed import local_device

            device = local_device(device)
        self.device = pick_device(device)
        # Behind a saturated sigmoid gradients fall below 1e-38, where a CPU computes many times
        # slower; they count as zero. Threads inherit this, so it comes before the first product.
        torch.set_flush_denormal(True)
        self.folder = RunFolder(place.out)
        resume = self.folder.resumes(place.resume)
        ways = {"parts": place.accumulate, "recompute": place.recompute, "processes": processes}
        self.learner = build_learner(options, self.device, **ways)
        self.average = MovingAverage(self.learner.weights(), options.ema) if options.ema else None
        self.history: list[Row] = []
        self.earlier: list[dict[str, Any]] = []  # the runs behind --start-from
        self.epoch, self.batch, self.step = 1, 0, 0
        self.heard = 0.0  # seconds of mixtures, in all processes together
        self.licence = ""
        self.tally = Tally()
        self.skipped_in_a_row = 0
        self.best = -math.inf  # SI-SDR
        if resume:
            restore(self)
        elif options.start_from is not None:
            start_from(self, options.start_from)
        if is_shards(str(place.speech[0])):
            from audio_denoising.training.shard_material import ShardMaterial

            self.material: Material = ShardMaterial(options, place, processes, self.device)
        else:
            self.material = Material(options, place, processes, self.device)
        self.licence = self.licence or self.material.licence
        require_batch(self.material.size, options.batch_size)
        self.steps = self.material.steps
        self.schedule = Schedule(
            options.schedule, options.epochs * self.steps, options.warmup_steps
        )

    def run(self) -> bool:
        """Trains until the last epoch is done, nothing gets better, or somebody stops it."""
        reason = ""
        try:
            if self.processes.leads and not self.folder.history.exists():
                self._save_history()
            self.validation = Validation(self.material.validation(), self.processes)
            with stop_on_signal() as stopped:
                for watcher in self.watchers:
                    watcher.started(self)
                while not (reason := self._end()):
                    if not (self._train_epoch(stopped) and self._finish_epoch(stopped)):
                        self._save()
                        return False
            return True
        finally:
            release()  # the buffers that the layers kept from step to step
            for watcher in reversed(self.watchers):
                watcher.ended(self, reason)

    def _end(self) -> str:
        """Why the run is over, or nothing."""
        epochs, patience = self.options.epochs, self.options.patience
        if self.epoch > epochs:
            return "its epoch is done" if epochs == 1 else f"all {epochs} epochs are done"
        ratios = [row["validation_si_sdr"] for row in self.history]
        if patience and ratios and len(ratios) - 1 - ratios.index(max(ratios)) >= patience:
            return f"no epoch of the last {patience} was better than the best before"
        return ""

    def _train_epoch(self, stopped: list[int]) -> bool:
        """The rest of the current epoch; False if it was interrupted."""
        saved = time.monotonic()
        started = saved - self.tally.seconds  # had nobody interrupted the epoch
        for noisy, clean in self.material.mixtures(self.epoch, self.batch):
            figures = self._step(noisy, clean)
            seconds = self.tally.seconds = time.monotonic() - started
            figures["samples_per_second"] = self.batch * self.options.batch_size / seconds
            for watcher in self.watchers:
                watcher.stepped(self, figures)
            if any(self.processes.sum(len(stopped))):
                return False
            if time.monotonic() - saved > self.place.save_seconds:
                self._save()
                saved = time.monotonic()
        return True

    def _step(self, noisy: Tensor, clean: Tensor) -> dict[str, float]:
        """One step, counted; its figures are means over the batch of all processes."""
        hearing, tally, count = self.learner.representation, self.tally, self.processes.count
        heard, target = hearing.hear(noisy), hearing.target(clean)
        rate = self.options.learning_rate * self.schedule.factor(self.step)
        found = self.learner.step(heard, target, rate)
        if self.average and found.taken:
            self.average.update()
        decibels = float(hearing.psnr(found.prediction, heard, target))
        sums = self.processes.sum(float(found.loss), decibels)
        loss, decibels = (total / count for total in sums)
        self.heard += noisy.numel() * count / SAMPLE_RATE
        self.step += 1
        self.batch += 1
        if found.taken:
            tally.loss += loss
            tally.psnr += decibels
            tally.taken += 1
            self.skipped_in_a_row = 0
        else:
            tally.skipped += 1
            self.skipped_in_a_row += 1
        if self.skipped_in_a_row == SKIPPED_IN_A_ROW:
            raise UserError(
                f"the gradients of {SKIPPED_IN_A_ROW} steps in a row, up to step {self.step}, were "
                "not numbers: start again in another --out with a lower --lr, or with --clip-norm 1"
            )
        return {
            "loss": loss,
            "psnr": decibels,
            "gradient_norm": float(found.gradient_norm),
            "learning_rate": rate,
            "skipped": not found.taken,
        }

    def _finish_epoch(self, stopped: list[int]) -> bool:
        """Judges and keeps an epoch; False if it was interrupted before it could be judged."""
        hearing = self.learner.representation
        with self.averaged():
            if list(self.learner.model.buffers()):  # running moments, which training goes without
                batches = takewhile(lambda _: not stopped, self.material.statistics())
                with torch.inference_mode():
                    heard = map(hearing.features, map(hearing.hear, batches))
                    take_statistics(self.learner.model, heard)
            judged = self.validation.run(self.learner, stopped)
        if judged is None:
            return False
        row: Row = {
            "epoch": self.epoch,
            "step": self.step,
            "hours": self.heard / 3600,
            "train_loss": self.tally.mean_loss,
            "train_psnr": self.tally.mean_psnr,
            **judged,
            "skipped_steps": self.tally.skipped,
            "train_seconds": self.tally.seconds,
        }
        self.history.append(row)
        # A network that went astray in the epoch's last step must not pass for the best one.
        sane = math.isfinite(row["validation_loss"])
        is_best = sane and row["validation_si_sdr"] > self.best
        if is_best:
            self.best = row["validation_si_sdr"]
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, Tally()
        # The checkpoint comes last: after a kill in between, what is missing is made again.
        if self.processes.leads:
            self.folder.keep(content_of(self), row["epoch"], is_best)
            self._save_history()
        self._save()
        for watcher in self.watchers:
            watcher.finished_epoch(self, row, is_best)
        return True

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the network has the weights that are validated and kept."""
        return self.average.in_place() if self.average else nullcontext()

    def _save(self) -> None:
        if self.processes.leads:
            self.folder.save(content_of(self))

    def _save_history(self) -> None:
        self.folder.save_history(self.options.as_dict(), self.history, self.earlier)


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collects SIGINT, SIGTERM and SIGHUP, so that a step is finished before the run is saved.

    A second signal is not collected: it has its usual effect.
    """
    received: list[int] = []
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # as by nohup
        before[hangup] = signal.getsignal(hangup)

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, remember)
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
