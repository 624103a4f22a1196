"""Many recordings: failures do not stop the others, and nothing outlives an early end."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audio_denoising.cleaning.batch import run
from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.cleaning.jobs import Job
from audio_denoising.cleaning.recording import Report
from audio_denoising.cleaning.settings import Settings
from audio_denoising.cleaning.stream import Progress
from audio_denoising.errors import UserError
from audio_denoising.models import build

JOBS = [Job(Path(f"{name}.wav"), Path(f"{name}_denoised.wav")) for name in "abcdef"]


def report(job: Job, damage: str = "") -> Report:
    return Report(1.0, 0.5, "v4", "cpu", job.output, damage)


def unwatched(job: Job) -> Progress:
    return lambda done, total: None


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failure_does_not_stop_the_others(workers: int) -> None:
    def clean(job: Job, progress: Progress) -> Report:
        if job == JOBS[1]:
            raise UserError("b.wav is no recording")
        if job == JOBS[2]:
            raise ZeroDivisionError("oops")
        return report(job, "d.wav ends early" if job == JOBS[3] else "")

    outcomes = {outcome.job: outcome for outcome in run(JOBS, clean, unwatched, workers=workers)}
    assert set(outcomes) == set(JOBS)
    assert [outcomes[job].failed for job in JOBS] == [False, True, True, True, False, False]
    sentences = [outcomes[job].sentence for job in JOBS]
    assert sentences[1] == "b.wav is no recording" and sentences[3] == "d.wav ends early"
    assert "c.wav: ZeroDivisionError: oops" in sentences[2]
    assert not any((sentences[0], sentences[4], sentences[5]))


def test_several_at_a_time() -> None:
    meeting = threading.Barrier(3, timeout=20)

    def clean(job: Job, progress: Progress) -> Report:
        meeting.wait()  # raises unless three are at work
        return report(job)

    assert not any(outcome.failed for outcome in run(JOBS, clean, unwatched, workers=3))


def test_an_early_end_stops_the_threads_at_their_next_progress() -> None:
    begun: list[Job] = []

    def clean(job: Job, progress: Progress) -> Report:
        begun.append(job)
        if job == JOBS[0]:
            return report(job)
        while True:
            progress(0.0, 1.0)

    before = threading.active_count()
    for _outcome in run(JOBS, clean, unwatched, workers=2):
        break  # as Ctrl-C would
    assert threading.active_count() == before
    assert len(begun) < len(JOBS)


def test_threads_share_one_network(tmp_path: Path) -> None:
    """What two threads make at once with the same weights is what one makes alone."""
    settings = Settings(force=True)
    network = build("v4", "small").eval()
    denoiser = Denoiser(network, name="v4-small")
    jobs = []
    for index in range(4):
        noise = 0.1 * np.random.default_rng(index).standard_normal(16_000 * (2 + index))
        soundfile.write(tmp_path / f"{index}.wav", noise, 16_000, subtype="FLOAT")
        jobs.append(Job(tmp_path / f"{index}.wav", tmp_path / f"{index}_denoised.wav"))

    def clean(job: Job, progress: Progress) -> Report:
        return settings.clean(denoiser, job, progress)

    def results() -> list[np.ndarray]:
        return [soundfile.read(job.output, dtype="float32")[0] for job in jobs]

    assert not any(outcome.failed for outcome in run(jobs, clean, unwatched))
    alone = results()
    assert not any(outcome.failed for outcome in run(jobs, clean, unwatched, workers=2))
    for first, second in zip(alone, results(), strict=True):
        assert np.allclose(first, second, atol=1e-5)


def test_an_early_end_leaves_nothing_half_written(tmp_path: Path) -> None:
    def slow(image: Tensor) -> Tensor:
        started.set()
        torch.ones(1)
        return image

    started = threading.Event()
    jobs = []
    for index in range(3):
        soundfile.write(tmp_path / f"{index}.wav", np.full(8000 * 200, 0.1), 8000)
        jobs.append(Job(tmp_path / f"{index}.wav", tmp_path / f"{index}_denoised.wav"))
    denoiser = Denoiser(slow, batch_size=1)

    def clean(job: Job, progress: Progress) -> Report:
        if job == jobs[0]:
            started.wait(20)  # the second is at work
            raise UserError("ends the loop below")
        return Settings().clean(denoiser, job, progress)

    for _outcome in run(jobs, clean, unwatched, workers=2):
        break
    assert not list(tmp_path.glob(".*")) and len(list(tmp_path.iterdir())) <= 4
