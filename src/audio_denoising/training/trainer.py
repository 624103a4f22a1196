"""The training loop: mixtures in, weights and their history out, stoppable at any step.

The state of a run is a plain dictionary (weights, optimiser, position, sums of the running epoch,
history), saved after every epoch and every few minutes. Every mixture is a function of seed, epoch
and index alone (from tar shards: of the number of workers and processes too), so a resumed run sees
what an uninterrupted one would have seen.

Under torchrun every process runs this loop on its share of every batch. What decides where the loop
goes (losses, the wish to stop, validation) is added up over all of them first, so that all go the
same way; the first one alone writes files.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from itertools import takewhile
from typing import Any

import torch

from audio_denoising.device import pick_device
from audio_denoising.dsp.constants import SAMPLE_RATE, SEGMENT
from audio_denoising.errors import UserError
from audio_denoising.models.checkpoint import Checkpoint, describe, load_checkpoint
from audio_denoising.models.shipped import locate
from audio_denoising.nn import MovingAverage, Schedule, take_statistics
from audio_denoising.nn.memory import release
from audio_denoising.training.distributed import ALONE, Processes, local_device
from audio_denoising.training.history import Row, save_history
from audio_denoising.training.interruption import stop_on_signal
from audio_denoising.training.learner import build_learner
from audio_denoising.training.material import NON_COMMERCIAL, Material, find_material
from audio_denoising.training.options import RunPlace, TrainingOptions, completed
from audio_denoising.training.reporting import Reporter, Reporters, StepReport, Summary
from audio_denoising.training.run_folder import RunFolder
from audio_denoising.training.tally import Tally
from audio_denoising.training.validation import Clip, Validation

SKIPPED_IN_A_ROW = 5  # steps


class Trainer:
    """One run. `run()` returns True when it has come to its end, False when it was interrupted.

    Args:
        reporter: who is told how it goes; only the first process tells.
        processes: that share the work, each with a trainer of its own.

    Raises:
        UserError: no usable speech or noise, an unwritable folder, a checkpoint that does not
            belong to this run, a batch that the processes cannot share, or gradients that are not
            numbers any more.
    """

    def __init__(
        self,
        options: TrainingOptions,
        place: RunPlace,
        reporter: Reporter,
        processes: Processes = ALONE,
    ) -> None:
        self.options = options
        self.place = place
        self.processes = processes
        self.reporter = reporter if processes.leads else Reporters()
        processes.share(options.batch_size)  # or the run ends here
        self.device = pick_device(local_device(place.device))
        # Behind a saturated sigmoid gradients fall below 1e-38, where a CPU computes many times
        # slower; they count as zero. Threads inherit this, so it comes before the first product.
        torch.set_flush_denormal(True)
        self.folder = RunFolder(place.out)
        resume = self.folder.resumes(place.resume)
        self.learner = build_learner(
            options,
            self.device,
            parts=place.accumulate,
            recompute=place.recompute,
            processes=processes,
        )
        self.average = MovingAverage(self.learner.weights(), options.ema) if options.ema else None
        self.history: list[Row] = []
        self.earlier: list[dict[str, Any]] = []  # the runs behind --start-from
        self.epoch, self.batch, self.step = 1, 0, 0
        self.heard = 0.0  # seconds of mixtures, in all processes together
        self.licence = ""
        self.tally = Tally()
        self.skipped_in_a_row = 0
        self.best = float("-inf")
        if resume:
            self._restore()
        elif options.start_from is not None:
            self._start_from(load_checkpoint(locate(options.start_from)))

    def run(self) -> bool:
        """Trains until the last epoch is done, nothing gets better, or somebody stops it."""
        try:
            return self._run()
        finally:
            release()  # the buffers that the layers kept from step to step

    def _run(self) -> bool:
        options = self.options
        material = find_material(options, self.place, self.processes, self.device)
        self.licence = self.licence or material.licence
        steps = len(material) // options.batch_size
        if steps == 0:
            raise UserError(
                f"an epoch of {len(material)} mixtures does not fill one batch of "
                f"{options.batch_size}: lower --batch-size or raise --epoch-size"
            )
        if self.processes.leads:
            self.folder.prepare()
            if not self.folder.history.exists():
                self._save_history()
        validation = Validation(material.validation(), self.processes)
        schedule = Schedule(options.schedule, options.epochs * steps, options.warmup_steps)
        with stop_on_signal() as stopped:
            self.reporter.started(material, self.device, steps, self.step)
            while not (reason := self._end()):
                trained = self._train_epoch(material, schedule, stopped)
                if not (trained and self._finish_epoch(material, validation, stopped)):
                    self._save()
                    return False
        kept = (row for row in self.history if row["validation_si_sdr"] == self.best)
        best = next(kept, None)
        skipped = sum(row.get("skipped_steps", 0) for row in self.history)
        out, damaged = self.place.out, material.damaged
        self.reporter.finished(
            Summary(reason, self.history, best, skipped, damaged, out, self.licence)
        )
        return True

    def _end(self) -> str:
        """Why the run is over, or nothing."""
        epochs, patience = self.options.epochs, self.options.patience
        if self.epoch > epochs:
            return "its epoch is done" if epochs == 1 else f"all {epochs} epochs are done"
        ratios = [row["validation_si_sdr"] for row in self.history]
        if patience and ratios and len(ratios) - 1 - ratios.index(max(ratios)) >= patience:
            return f"no epoch of the last {patience} was better than the best before"
        return ""

    def _train_epoch(self, material: Material, schedule: Schedule, stopped: list[int]) -> bool:
        """The rest of the current epoch; False if it was interrupted."""
        saved = started = time.monotonic()
        seconds_before = self.tally.seconds
        hearing = self.learner.representation
        for noisy, clean in material.mixtures(self.epoch, self.batch):
            heard, target = hearing.hear(noisy), hearing.target(clean)
            rate = self.options.learning_rate * schedule.factor(self.step)
            found = self.learner.step(heard, target, rate)
            if self.average and found.taken:
                self.average.update()
            decibels = float(hearing.psnr(found.prediction, heard, target))
            loss, decibels = self._over_processes(float(found.loss), decibels)
            self.heard += noisy.numel() * self.processes.count / SAMPLE_RATE
            self.step += 1
            self.batch += 1
            self.tally.add(loss, decibels, found.taken)
            self.tally.seconds = seconds_before + time.monotonic() - started
            self._guard(found.taken)
            self._report(loss, decibels, float(found.gradient_norm), rate, found.taken)
            if any(self.processes.sum(len(stopped))):
                return False
            if time.monotonic() - saved > self.place.save_seconds:
                self._save()
                saved = time.monotonic()
        return True

    def _over_processes(self, *values: float) -> list[float]:
        count = self.processes.count
        return [total / count for total in self.processes.sum(*values)]

    def _guard(self, taken: bool) -> None:
        self.skipped_in_a_row = 0 if taken else self.skipped_in_a_row + 1
        if self.skipped_in_a_row == SKIPPED_IN_A_ROW:
            raise UserError(
                f"the gradients of {SKIPPED_IN_A_ROW} steps in a row, up to step {self.step}, were "
                "not numbers: start again in another --out with a lower --lr, or with --clip-norm 1"
            )

    def _report(self, loss: float, decibels: float, norm: float, rate: float, taken: bool) -> None:
        self.reporter.stepped(
            StepReport(
                epoch=self.epoch,
                batch=self.batch,
                step=self.step,
                loss=loss,
                psnr=decibels,
                mean_loss=self.tally.mean_loss,
                mean_psnr=self.tally.mean_psnr,
                gradient_norm=norm,
                learning_rate=rate,
                samples_per_second=self.batch * self.options.batch_size / self.tally.seconds,
                skipped=not taken,
            )
        )

    def _finish_epoch(self, material: Material, validation: Validation, stopped: list[int]) -> bool:
        """Judges and keeps an epoch; False if it was interrupted before it could be judged."""
        hearing = self.learner.representation
        with self._averaged():
            # Only what is validated and kept needs them: training has moments of its own.
            heard = map(hearing.hear, takewhile(lambda _: not stopped, material.statistics()))
            with torch.inference_mode():
                take_statistics(self.learner.model, map(hearing.features, heard))
            figures = validation.run(self.learner, stopped)
        if figures is None:
            return False
        row: Row = {
            "epoch": self.epoch,
            "step": self.step,
            "hours": self.heard / 3600,
            "train_loss": self.tally.mean_loss,
            "train_psnr": self.tally.mean_psnr,
            **figures,
            "skipped_steps": self.tally.skipped,
            "train_seconds": self.tally.seconds,
        }
        self.history.append(row)
        # A network that went astray in the epoch's last step must not pass for the best one.
        sane = math.isfinite(row["validation_loss"])
        is_best = sane and row["validation_si_sdr"] > self.best
        if is_best:
            self.best = row["validation_si_sdr"]
        finished = self.epoch
        self.epoch, self.batch = self.epoch + 1, 0
        self.tally = Tally()
        # The checkpoint comes last: after a kill in between, what is missing is made again.
        if self.processes.leads:
            self.folder.keep(self._content(), finished, is_best)
            self._save_history()
        self._save()
        self.reporter.finished_epoch(row, is_best, lambda: self._clips(validation))
        return True

    def _averaged(self) -> AbstractContextManager[None]:
        """Inside, the network has the weights that are validated and kept."""
        return self.average.in_place() if self.average else nullcontext()

    def _clips(self, validation: Validation) -> list[Clip]:
        with self._averaged():
            return validation.clips(self.learner)

    def _content(self) -> dict[str, Any]:
        options = self.options
        content = {
            **describe(options.version, options.size),
            **self.learner.state_dict(),
            "options": options.as_dict(),
            "place": {
                **self.place.as_dict(),
                "device": str(self.device),
                "processes": self.processes.count,
            },
            "position": {
                "epoch": self.epoch,
                "batch": self.batch,
                "step": self.step,
                "heard": self.heard,
            },
            "licence": self.licence or "as the recordings allow",
            "sums": self.tally.as_dict(),
            "skipped_in_a_row": self.skipped_in_a_row,
            "best": self.best,
            "history": list(self.history),
            "earlier": self.earlier,
            "rng": torch.get_rng_state(),
        }
        if self.average:
            content["unaveraged_model"] = content["model"]
            with self._averaged():
                content["model"] = self.learner.state_dict()["model"]
            content["average_steps"] = self.average.steps
        return content

    def _save(self) -> None:
        if self.processes.leads:
            self.folder.save(self._content())

    def _save_history(self) -> None:
        save_history(self.place.out, self.options.as_dict(), self.history, self.earlier)

    def _start_from(self, checkpoint: Checkpoint) -> None:
        options = self.options
        if (checkpoint.version, checkpoint.size) != (options.version, options.size):
            raise UserError(
                f"{checkpoint.path} holds {checkpoint.version}-{checkpoint.size}, not "
                f"{options.version}-{options.size}: start from another checkpoint"
            )
        self.learner.model.load_state_dict(
            {name: value.float() for name, value in checkpoint.model_state.items()}
        )
        if self.average:
            self.average.resume(0)
        self._inherit_licence(checkpoint)
        run = {"options": checkpoint.content.get("options", {}), "epochs": checkpoint.history}
        self.earlier = [*checkpoint.content.get("earlier", []), run]

    def _inherit_licence(self, checkpoint: Checkpoint) -> None:
        """What weights have once heard they do not unlearn."""
        licence = str(checkpoint.content.get("licence", ""))
        if licence.startswith(NON_COMMERCIAL):
            self.licence = licence

    def _restore(self) -> None:
        checkpoint = self.folder.newest()
        content, own = checkpoint.content, self.options.as_dict()
        theirs = completed(content.get("options", {}), self.options.version)
        # A run may be prolonged, and one without an end be brought to it; everything else that
        # decides the result must be the same.
        free = {"epochs"}
        if {own["schedule"], theirs["schedule"]} == {"constant", "linear-end"}:
            free.add("schedule")
        different = [k for k in own if k not in free and theirs[k] != own[k]]
        if different:
            raise UserError(
                f"{checkpoint.path} was trained with another {', '.join(different)}: give the same "
                "options to resume it, or choose another --out"
            )
        self._inherit_licence(checkpoint)
        try:
            self.learner.load_state_dict(content)
            if self.average:
                self.average.resume(content["average_steps"])
                self.learner.model.load_state_dict(content["unaveraged_model"])
            position = content["position"]
            self.epoch, self.batch, self.step = (position[k] for k in ("epoch", "batch", "step"))
            images = self.step * self.options.batch_size * SEGMENT / SAMPLE_RATE
            self.heard = position.get("heard", images)  # older runs did not count, all heard images
            self.tally = Tally.restored(content["sums"], self.batch)
            self.skipped_in_a_row = content.get("skipped_in_a_row", 0)
            self.best = content["best"]
            self.history = checkpoint.history
            self.earlier = list(content.get("earlier", []))
            torch.set_rng_state(content["rng"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{checkpoint.path} does not hold all that a run needs to go on (an exported one "
                "does not): use its weights with --start-from and another --out"
            ) from error
