"""The training loop: mixtures in, weights and their history out, stoppable at any step.

The state of a run is a plain dictionary (weights, optimiser, position, sums of the running epoch,
history), saved after every epoch and every few minutes. Every mixture is a function of seed, epoch
and index alone (from tar shards: of the number of workers too), so a resumed run sees what an
uninterrupted one would have seen.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch

from ..data.augment import preset
from ..data.mixtures import make_mixtures
from ..data.reverberation import RoomBank
from ..device import pick_device
from ..dsp.spectrum import image, stft
from ..errors import UserError
from ..nn import Schedule
from .checkpoint import (
    Checkpoint,
    describe,
    load_checkpoint,
    require_writable,
    save_checkpoint,
)
from .history import Row, save_history
from .learner import build_learner
from .material import Material, find_material
from .options import RunPlace, TrainingOptions
from .validation import Validation, psnr

SAVE_SECONDS = 120.0
KEEP_EVERY = 5  # epochs


class Reporter(Protocol):
    """Who is told how the run goes: the command line's progress display, or nobody."""

    def started(
        self, material: Material, device: torch.device, steps: int, resumed_at: int
    ) -> None:
        """Before the first step."""

    def stepped(self, epoch: int, step: int, loss: float, image_psnr: float) -> None:
        """After every step; means over the epoch so far."""

    def finished_epoch(self, row: Row, is_best: bool) -> None:
        """After validation."""

    def finished(self, damaged: Sequence[str | Path]) -> None:
        """After the last epoch; what could not be decoded and was passed over."""


class Trainer:
    """One run. `run()` returns True when all epochs are done, False when it was interrupted.

    Raises:
        UserError: no usable speech or noise, an unwritable folder, a checkpoint that does not
            belong to this run, or a loss that is not a number any more.
    """

    def __init__(self, options: TrainingOptions, place: RunPlace, reporter: Reporter) -> None:
        self.options = options
        self.place = place
        self.reporter = reporter
        self.device = pick_device(place.device)
        # Behind a saturated sigmoid gradients fall below 1e-38, where a CPU computes many times
        # slower; they count as zero. Threads inherit this, so it comes before the first product.
        torch.set_flush_denormal(True)
        self.last = place.out / "last.pth"
        if self.last.exists() and not place.resume:
            raise UserError(
                f"{self.last} exists: continue that run with --resume, or choose another --out"
            )
        self.learner = build_learner(options, self.device)
        self.history: list[Row] = []
        self.earlier: list[dict[str, Any]] = []  # the runs behind --start-from
        self.epoch, self.batch, self.step = 1, 0, 0
        self.sums = {"loss": 0.0, "psnr": 0.0, "seconds": 0.0}
        self.best = float("-inf")
        if place.resume:
            self._restore()
        elif options.start_from is not None:
            self._start_from(load_checkpoint(options.start_from))

    def run(self) -> bool:
        """Trains until the last epoch is done or somebody stops it."""
        options = self.options
        material = find_material(options, self.place)
        steps = len(material) // options.batch_size
        if steps == 0:
            raise UserError(
                f"an epoch of {len(material)} mixtures does not fill one batch of "
                f"{options.batch_size}: lower --batch-size or raise --epoch-size"
            )
        require_writable(self.place.out)
        rooms = preset(options.augmentation).rooms(options.seed, self.device)
        validation = Validation(material.validation())
        schedule = Schedule(options.schedule, options.epochs * steps, options.warmup_steps)
        self.reporter.started(material, self.device, steps, self.step)
        with _stop_on_signal() as stopped:
            while self.epoch <= options.epochs:
                if not self._train_epoch(material, rooms, schedule, stopped):
                    self._save()
                    return False
                self._finish_epoch(steps, validation)
        self.reporter.finished(material.damaged)
        return True

    def _train_epoch(
        self,
        material: Material,
        rooms: RoomBank | None,
        schedule: Schedule,
        stopped: list[int],
    ) -> bool:
        """The rest of the current epoch; False if it was interrupted."""
        saved = started = time.monotonic()
        seconds_before = self.sums["seconds"]
        for stretches in material.batches(self.epoch, self.batch):
            clean, noisy = make_mixtures(stretches.to(self.device), rooms)
            target, source = (image(stft(waves)).unsqueeze(1) for waves in (clean, noisy))
            rate = self.options.learning_rate * schedule.factor(self.step)
            loss, prediction = self.learner.step(source, target, rate)
            self.step += 1
            self.batch += 1
            if not math.isfinite(float(loss)):
                raise UserError(
                    f"the loss at step {self.step} is not a number: start again in another --out "
                    "with a lower --lr, or with --clip-norm 1"
                )
            self.sums["loss"] += float(loss)
            self.sums["psnr"] += float(psnr(prediction, target))
            now = time.monotonic()
            self.sums["seconds"] = seconds_before + now - started
            self.reporter.stepped(
                self.epoch,
                self.batch,
                self.sums["loss"] / self.batch,
                self.sums["psnr"] / self.batch,
            )
            if stopped:
                return False
            if now - saved > SAVE_SECONDS:
                self._save()
                saved = now
        return True

    def _finish_epoch(self, steps: int, validation: Validation) -> None:
        row: Row = {
            "epoch": self.epoch,
            "step": self.step,
            "train_loss": self.sums["loss"] / steps,
            "train_psnr": self.sums["psnr"] / steps,
            **validation.run(self.learner),
            "train_seconds": self.sums["seconds"],
        }
        self.history.append(row)
        # A network that went astray in the epoch's last step must not pass for the best one.
        sane = math.isfinite(row["validation_loss"])
        is_best = sane and row["validation_si_sdr"] > self.best
        if is_best:
            self.best = row["validation_si_sdr"]
        finished = self.epoch
        self.epoch, self.batch = self.epoch + 1, 0
        self.sums = dict.fromkeys(self.sums, 0.0)
        self._save()
        if is_best:
            save_checkpoint(self.place.out / "best.pth", self._content())
        if finished % KEEP_EVERY == 0:
            save_checkpoint(self.place.out / f"epoch_{finished:03d}.pth", self._content())
        save_history(self.place.out, self.options.as_dict(), self.history, self.earlier)
        self.reporter.finished_epoch(row, is_best)

    def _content(self) -> dict[str, Any]:
        options = self.options
        return {
            **describe(options.version, options.size),
            **self.learner.state_dict(),
            "options": options.as_dict(),
            "position": {"epoch": self.epoch, "batch": self.batch, "step": self.step},
            "sums": dict(self.sums),
            "best": self.best,
            "history": list(self.history),
            "earlier": self.earlier,
            "rng": torch.get_rng_state(),
        }

    def _save(self) -> None:
        save_checkpoint(self.last, self._content())

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
        run = {"options": checkpoint.content.get("options", {}), "epochs": checkpoint.history}
        self.earlier = [*checkpoint.content.get("earlier", []), run]

    def _restore(self) -> None:
        checkpoint = load_checkpoint(self.last)
        content, own = checkpoint.content, self.options.as_dict()
        # An option that did not exist yet when the run began had what is its default now.
        defaults = {field.name: field.default for field in fields(TrainingOptions)}
        theirs = {**defaults, **content.get("options", {})}
        # A run may be prolonged; everything else that decides the result must be the same.
        different = [k for k in own if k != "epochs" and theirs[k] != own[k]]
        if different:
            raise UserError(
                f"{self.last} was trained with another {', '.join(different)}: give the same "
                "options to resume it, or choose another --out"
            )
        try:
            self.learner.load_state_dict(content)
            position = content["position"]
            self.epoch, self.batch, self.step = (position[k] for k in ("epoch", "batch", "step"))
            self.sums, self.best = dict(content["sums"]), content["best"]
            self.history = checkpoint.history
            self.earlier = list(content.get("earlier", []))
            torch.set_rng_state(content["rng"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{self.last} does not hold all that a run needs to go on (an exported checkpoint "
                "does not): use its weights with --start-from and another --out"
            ) from error


@contextmanager
def _stop_on_signal() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, so that a step is always finished before the run is saved.

    A second signal is not collected: it has its usual effect.
    """
    received: list[int] = []
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

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
