"""What the terminal shows of a run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from audio_denoising.training.options import RunPlace
from audio_denoising.training.progress import TrainingDisplay, duration
from audio_denoising.training.reporting import Summary
from audio_denoising.training.trainer import Trainer
from tests.training.runs import NOISE, SPEECH, options, quickly


def test_a_run_is_told_in_full(tmp_path: Path) -> None:
    out = tmp_path / "my [run] :car:"
    screen = io.StringIO()
    console = Console(file=screen, width=300, highlight=False, emoji=False, force_terminal=True)
    chosen = options("v2", epochs=2, batch_size=1, epoch_size=2)
    with quickly(narrow=True), TrainingDisplay(console, chosen, out) as display:
        assert Trainer(chosen, RunPlace([SPEECH], [NOISE], out, "cpu", 0), display).run()
    told = screen.getvalue()
    assert f"on cpu, 2 epochs of 2 steps, batch 1, results in {out}" in told
    assert "train: 8 speech files, 5 speakers" in told
    assert "validation: 4 speech files, 2 speakers" in told
    for epoch in (1, 2):
        assert f"epoch   {epoch}  train loss 0." in told
        assert f"epoch {epoch}/2" in told  # the bar
    for figure in ("loss", "PSNR", "SI-SDR", "samples/s", "best"):
        assert figure in told
    assert "all 2 epochs are done" in told
    assert f"denoise clean --model '{out}/best.pth' recording.wav" in told


ROW = {
    "epoch": 7,
    "step": 1400,
    "train_seconds": 3725.0,
    "validation_si_sdr": 12.8269,
    "validation_si_sdr_gain": 5.83,
    "validation_psnr": 23.454,
    "validation_loss": 0.0391,
}
DAMAGED = [Path(f"my [voices]/{number}.flac") for number in range(7)]
FACTS = (
    "no epoch of the last 3 was better",
    "2 epochs, 1,400 steps, 1 h 2 min",
    "epoch 7: SI-SDR 12.83 dB (+5.83 dB gain over the noisy input), PSNR 23.45 dB, loss 0.0391",
    "1 step whose gradients were not numbers",
    "7 files that could not be decoded: my [voices]/0.flac, my [voices]/1.flac, "
    "my [voices]/2.flac, my [voices]/3.flac, my [voices]/4.flac and 2 more",
)


def summed_up(summary: Summary, *, width: int = 80, terminal: bool) -> str:
    """What is printed at the end of a run."""
    screen = io.StringIO()
    console = Console(
        file=screen, width=width, force_terminal=terminal, color_system=None, highlight=False
    )
    TrainingDisplay(console, options(), summary.out).finished(summary)
    return screen.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_summary_fits_a_terminal_and_says_everything(width: int) -> None:
    rows = [{**ROW, "step": 700, "train_seconds": 0.0}, ROW]
    summary = Summary(FACTS[0], rows, ROW, 1, DAMAGED, Path("my run"))
    *framed, command = summed_up(summary, width=width, terminal=True).splitlines()
    assert framed[0].startswith("╭─ v4-small ─") and max(map(len, framed)) <= width
    words = " ".join(" ".join(framed).replace("│", " ").split())
    assert all(fact in words for fact in FACTS) and "my run" in words
    assert command == "denoise clean --model 'my run/best.pth' recording.wav"  # in one piece


def test_a_file_gets_plain_lines() -> None:
    """One fact a line, however long, and no frame."""
    rows = [{**ROW, "step": 700, "train_seconds": 0.0}, ROW]
    summary = Summary(FACTS[0], rows, ROW, 1, DAMAGED, Path("runs"))
    lines = summed_up(summary, terminal=False).splitlines()
    assert [sum(fact in line for line in lines) for fact in FACTS] == [1] * len(FACTS)
    assert not any(mark in line for line in lines for mark in "╭│╰")
    assert len(lines) == 7


def test_a_run_without_a_best_epoch_names_no_command() -> None:
    told = summed_up(Summary("all 2 epochs are done", [], None, 0, [], Path("o")), terminal=True)
    assert "0 epochs, 0 steps, 0.0 s" in told and "never gave a number" in told
    assert "denoise clean" not in told and "skipped" not in told and "passed over" not in told


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (7199, "1 h 59 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
