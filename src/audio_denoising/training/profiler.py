"""Where the time of a training step goes: a few steps under PyTorch's profiler.

The trace shows every operator of those steps, and on NVIDIA GPUs every kernel, on a time axis: open
it at https://ui.perfetto.dev or in chrome://tracing. After those steps the profiler is switched
off, so that the rest of the run goes at its usual speed.

On a CPU our engine computes in small tiles that stay in the cache: a step of v4-small at batch 16
is about a hundred thousand calls, tens of megabytes of trace and some ten seconds to write and
count them. So two steps are recorded unless more are asked for; a smaller batch is quicker.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch.profiler import profile, schedule

from audio_denoising.errors import counted
from audio_denoising.files import save_whole
from audio_denoising.training.progress import Watcher
from audio_denoising.training.run_folder import Row
from audio_denoising.training.trainer import Trainer

BEFORE = 2  # steps: the first is unlike the others, in the second the profiler warms up
ROWS = 11  # of the table: ten operators, and what the steps took beside them


class StepProfile(Watcher):
    """Profiles the first steps of a run, ``active`` ones at most: validation, at the end of an
    epoch, would bury them.

    The trace goes to ``path``, in Chrome's JSON format; ``tell`` is given what was found, in a few
    lines of plain text. UserError from any method where the trace cannot be written.
    """

    def __init__(self, path: Path, tell: Callable[[str], object], active: int = 2) -> None:
        self.path, self.tell, self.active = path, tell, active
        self.done = 0  # steps
        self._running: profile | None = None

    def started(self, trainer: Trainer) -> None:
        """Switches the profiler on."""
        self._on_gpu = trainer.device.type == "cuda"
        self._running = profile(
            schedule=schedule(wait=BEFORE - 1, warmup=1, active=self.active, repeat=1),
            on_trace_ready=self._write,
        )
        self._running.start()

    def stepped(self, trainer: Trainer, figures: dict[str, float]) -> None:
        """Counts the steps; after the last one to be recorded everything is written."""
        if self._running is None:
            return
        self.done += 1
        ends_epoch = trainer.batch == trainer.steps
        if self.done == BEFORE + self.active or (ends_epoch and self.done > BEFORE):
            self.ended(trainer)
        elif not ends_epoch:
            self._running.step()

    def finished_epoch(self, trainer: Trainer, row: Row, is_best: bool) -> None:
        """Goes on to the next epoch's first step, now that validation is over."""
        if self._running is not None:
            self._running.step()

    def ended(self, trainer: Trainer, reason: str = "") -> None:
        """Switches the profiler off, which writes what it found."""
        if self._running is None:
            return
        found, self._running = self._running, None
        found.stop()
        if self.done <= BEFORE:
            self.tell(f"No profile: this run ended after {self.done} steps, too few to record one.")

    def _write(self, found: profile) -> None:
        if self.done <= BEFORE:
            return
        save_whole(self.path, lambda temporary: found.export_chrome_trace(str(temporary)))
        # On a GPU what the kernels of an operator took there.
        key = "self_device_time_total" if self._on_gpu else "self_cpu_time_total"
        table = found.key_averages().table(sort_by=key, row_limit=ROWS, max_name_column_width=44)
        self.tell(
            f"Profile of {counted(self.done - BEFORE, 'step')} in {self.path}, which "
            f"https://ui.perfetto.dev shows:\n{table}"
        )
