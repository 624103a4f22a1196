"""Many recordings: failures do not stop the others, and nothing outlives an early end."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from torch import Tensor

from audio_denoising.cleaning.batch import clean_all, run
from audio_denoising.cleaning.cleaner import load_cleaner
from audio_denoising.cleaning.recording import Progress, Report, clean_recording
from audio_denoising.cleaning.settings import Job, Settings
from audio_denoising.errors import UserError
from audio_denoising.models import build

JOBS = [Job(f"{name}.wav", f"{name}_denoised.wav") for name in "abcdef"]


def report(job: Job, damage: str = "") -> Report:
    return Report(1.0, 0.5, "v4", "cpu", Path(job.output), damage)


def jobs_in(folder: Path, count: int, samples: np.ndarray) -> list[Job]:
    """Recordings of different lengths, and where they go."""
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", samples[number * 1000 :], 8000, subtype="FLOAT")
    return [Job(str(folder / f"{n}.wav"), str(folder / f"{n}_clean.wav")) for n in range(count)]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failure_does_not_stop_the_others(workers: int) -> None:
    def clean(job: Job, progress: Progress) -> Report:
        if job == JOBS[1]:
            raise UserError("b.wav is no recording")
        if job == JOBS[2]:
            raise ZeroDivisionError("oops")
        return report(job, "d.wav ends early" if job == JOBS[3] else "")

    outcomes = {outcome.job: outcome for outcome in run(JOBS, clean, workers=workers)}
    assert [bool(outcomes[job].sentence) for job in JOBS] == [False, True, True, True, False, False]
    sentences = [outcomes[job].sentence for job in JOBS]
    assert sentences[1] == "b.wav is no recording" and sentences[3] == "d.wav ends early"
    assert "c.wav: ZeroDivisionError: oops" in sentences[2]


def test_several_at_a_time() -> None:
    meeting = threading.Barrier(3, timeout=20)

    def clean(job: Job, progress: Progress) -> Report:
        meeting.wait()  # raises unless three are at work
        return report(job)

    assert not any(outcome.sentence for outcome in run(JOBS, clean, workers=3))


def test_threads_share_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What two threads make at once with the same weights is what one makes alone, bars or not."""
    cleaner = load_cleaner(build("v4", "small").eval(), name="v4-small")
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    jobs = jobs_in(tmp_path, 4, 0.1 * np.random.default_rng(0).standard_normal(20_000))
    results = []
    for workers in (1, 2):
        screen = Console(file=io.StringIO(), force_terminal=workers == 2)
        outcomes = list(clean_all(jobs, Settings(force=True), lambda: cleaner, workers, screen))
        assert {outcome.job for outcome in outcomes if not outcome.sentence} == set(jobs)
        results.append([soundfile.read(job.output)[0] for job in jobs])
    for first, second in zip(*results, strict=True):
        assert np.allclose(first, second, atol=1e-5)
    assert "All files" in screen.file.getvalue()  # type: ignore[attr-defined]


def test_an_early_end_leaves_nothing_half_written(tmp_path: Path) -> None:
    started = threading.Event()

    def slow(image: Tensor) -> Tensor:
        started.set()
        return image

    jobs = jobs_in(tmp_path, 3, np.full(8000 * 200, 0.1))
    cleaner = load_cleaner(slow, batch_size=1)

    def clean(job: Job, progress: Progress) -> Report:
        if job == jobs[0]:
            started.wait(20)  # the second is at work
            raise UserError("ends the loop below")
        return clean_recording(cleaner, job, Settings(), progress)

    for _outcome in run(jobs, clean, workers=2):
        break
    assert not list(tmp_path.glob(".*")) and len(list(tmp_path.iterdir())) <= 4
