"""What the terminal shows of a run."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from audio_denoising.training.options import RunPlace
from audio_denoising.training.progress import TrainingDisplay
from audio_denoising.training.trainer import Trainer
from tests.training.runs import NOISE, SPEECH, options, quickly


def test_a_run_is_told_in_full(tmp_path: Path) -> None:
    out = tmp_path / "my [run] :car:"
    screen = io.StringIO()
    console = Console(file=screen, width=300, highlight=False, emoji=False, force_terminal=True)
    chosen = options("v2", epochs=2, batch_size=1, epoch_size=2)
    place = RunPlace([SPEECH], [NOISE], out, "cpu")
    with quickly(narrow=True):
        assert Trainer(chosen, place, [TrainingDisplay(console)]).run()
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
    "train_seconds": 3725.0,
    "skipped_steps": 1,
    "validation_si_sdr": 12.8269,
    "validation_si_sdr_gain": 5.83,
    "validation_psnr": 23.454,
    "validation_loss": 0.0391,
}


def summed_up(rows: list[dict[str, Any]], damaged: list[Path]) -> list[str]:
    """The lines at the end of a run, however narrow the terminal."""
    screen = io.StringIO()
    console = Console(file=screen, width=40, color_system=None, highlight=False)
    material, place = SimpleNamespace(damaged=damaged), SimpleNamespace(out=Path("my run"))
    trainer: Any = SimpleNamespace(
        history=rows, best=12.8269, step=1400, licence="", material=material, place=place
    )
    TrainingDisplay(console).ended(trainer, "no epoch of the last 3 was better")
    return screen.getvalue().strip("\n").splitlines()


def test_the_summary_says_everything_a_fact_a_line() -> None:
    rows = [{**ROW, "validation_si_sdr": 1.0, "train_seconds": 0.0, "skipped_steps": 0}, ROW]
    damaged = [Path(f"my [voices]/{number}.flac") for number in range(7)]
    assert summed_up(rows, damaged) == [
        "        end: no epoch of the last 3 was better",
        "    trained: 2 epochs, 1,400 steps, 1 h 2 min",
        "       best: epoch 7: SI-SDR 12.83 dB (+5.83 dB gain over the noisy input), "
        "PSNR 23.45 dB, loss 0.0391",
        "    skipped: 1 step whose gradients were not numbers; --clip-norm 1 or a lower --lr may "
        "help",
        "passed over: 7 files that could not be decoded: my [voices]/0.flac, my [voices]/1.flac, "
        "my [voices]/2.flac, my [voices]/3.flac, my [voices]/4.flac and 2 more",
        "    results: my run",
        "denoise clean --model 'my run/best.pth' recording.wav",
    ]
    told = "\n".join(summed_up([], []))
    assert "0 epochs" in told and "never gave a number" in told
    assert "denoise clean" not in told and "skipped" not in told and "passed over" not in told
