"""Where the time of a training step goes: a few steps under PyTorch's profiler.

    with ProfileReporter(out / "profile.json", console.print) as profile:
        Trainer(options, place, Reporters(profile)).run()

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
from types import TracebackType

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, schedule

from audio_denoising.files import save_whole
from audio_denoising.training.history import Row
from audio_denoising.training.material import Material
from audio_denoising.training.reporting import StepReport, Summary
from audio_denoising.training.validation import Clip

ROWS = 10  # of the table
NAME_WIDTH = 44


class ProfileReporter:
    """A `Reporter` for the trainer that profiles the first steps. Use it in a `with` block.

    Args:
        path: of the trace, in Chrome's JSON format.
        tell: is given what was found, in a few lines of plain text, when the trace is written.
        wait: steps before anything happens: the first is unlike the others.
        warmup: steps in which the profiler runs but what it finds is thrown away.
        active: steps that are recorded, or fewer: no more than up to the end of their epoch,
            because validation would bury them, and what there is of a run that ends earlier.

    Raises:
        UserError: the trace cannot be written (from any method).
    """

    def __init__(
        self,
        path: Path,
        tell: Callable[[str], object],
        *,
        wait: int = 1,
        warmup: int = 1,
        active: int = 2,
    ) -> None:
        self.path = path
        self.tell = tell
        self.before = wait + warmup
        self.active = active
        self.schedule = schedule(wait=wait, warmup=warmup, active=active, repeat=1)
        self.done = 0  # steps
        self._running: profile | None = None
        self._on_gpu = False
        self._epoch_steps = 0

    def __enter__(self) -> ProfileReporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def started(
        self, material: Material, device: torch.device, steps: int, resumed_at: int
    ) -> None:
        """Switches the profiler on."""
        self._epoch_steps = steps
        activities = [ProfilerActivity.CPU]
        self._on_gpu = device.type == "cuda"
        if self._on_gpu:
            activities.append(ProfilerActivity.CUDA)
        self._running = profile(activities=activities, schedule=self.schedule)
        self._running.start()

    def stepped(self, report: StepReport) -> None:
        """Counts the steps; after the last one to be recorded everything is written."""
        if self._running is None:
            return
        self.done += 1
        ends_epoch = report.batch == self._epoch_steps
        if self.done == self.before + self.active or (ends_epoch and self.done > self.before):
            self._stop()
        elif not ends_epoch:
            self._running.step()

    def finished_epoch(self, row: Row, is_best: bool, clips: Callable[[], list[Clip]]) -> None:
        """Goes on to the next epoch's first step, now that validation is over."""
        if self._running is not None:
            self._running.step()

    def finished(self, summary: Summary) -> None:
        """Writes what a short run has."""
        self._stop()

    def _stop(self) -> None:
        """Switches the profiler off; writes and tells what it found."""
        if self._running is None:
            return
        found, self._running = self._running, None
        recorded = self.done - self.before
        found.stop()
        if recorded < 1:
            self.tell(
                f"No profile: this run ended after {self.done} steps, of which the first "
                f"{self.before} are not recorded."
            )
            return
        save_whole(self.path, lambda temporary: found.export_chrome_trace(str(temporary)))
        self.tell(self._table(found, recorded))

    def _table(self, found: profile, recorded: int) -> str:
        """The operators that took most time: on a GPU what their kernels took there."""
        times: list[tuple[float, int, str]] = []
        for row in found.key_averages():
            # Kernels are rows too, but their time is counted with the operators that start them.
            if row.device_type == DeviceType.CPU and not row.key.startswith("ProfilerStep"):
                time = row.self_device_time_total if self._on_gpu else row.self_cpu_time_total
                times.append((time, row.count, row.key.split("#")[0]))
        total = sum(time for time, _, _ in times) or 1.0
        lines = [
            f"Profile of {recorded} step{'s' if recorded > 1 else ''} in {self.path}, which "
            "https://ui.perfetto.dev shows:",
            f"{'operator':<{NAME_WIDTH}} {'ms/step':>9} {'share':>6} {'calls/step':>10}",
        ]
        for time, count, name in sorted(times, reverse=True)[:ROWS]:
            lines.append(
                f"{name[:NAME_WIDTH]:<{NAME_WIDTH}} {time / 1000 / recorded:>9.2f} "
                f"{time / total:>6.1%} {count / recorded:>10.1f}"
            )
        return "\n".join(lines)
