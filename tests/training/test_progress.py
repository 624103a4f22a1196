"""What the terminal shows of a run."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from audio_denoising.training.options import RunPlace
from audio_denoising.training.progress import TrainingDisplay
from audio_denoising.training.trainer import Trainer

from .runs import NOISE, SPEECH, options, quickly


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
