"""`denoise models NAME`: what a checkpoint tells of itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_denoising.cli import models as cli_models
from audio_denoising.models import VERSIONS
from audio_denoising.models.checkpoint import export, load_checkpoint
from audio_denoising.training import run_folder
from tests.cli.command import content, denoise
from tests.training.runs import NOISE, SPEECH, options, train

VOICES = [SPEECH / "dev-clean", SPEECH / "train-clean-100"]


def test_models_lists_versions_sizes_parameters_and_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_denoising.models.versions.SHIPPED", tmp_path)
    torch.save(content(), tmp_path / "full.pth")
    export(load_checkpoint(tmp_path / "full.pth"), tmp_path / "v4-small.safetensors")
    monkeypatch.setattr(cli_models.console, "width", 200)
    told = denoise("models")
    assert (told.code, told.err) == (0, "")
    lines = [line.split() for line in told.out.splitlines()]
    rows = {(line[0], line[1]): line[2:] for line in lines if line and line[0] in VERSIONS}
    assert list(rows) == [(name, size) for name, row in VERSIONS.items() for size in row.sizes]
    assert (rows["v4", "large"][0], rows["v5", "base"][0]) == ("43,619,649", "150,056")
    assert {row[-1] for key, row in rows.items() if key != ("v4", "small")} == {"-"}
    assert rows["v4", "small"][-2:] == ["5.5", "MB"]
    assert "non-commercial use (trained on UrbanSound8K, CC BY-NC 3.0): v4\n" in told.out


def described(path: object) -> dict[str, str]:
    """The facts by their names; every option's line by the option."""
    result = denoise("models", path)
    assert (result.code, result.err) == (0, "")
    facts = dict(line.strip().split(": ", 1) for line in result.out.splitlines() if ": " in line)
    return facts | {line[2:].split()[0]: line for line in result.out.splitlines() if "--" in line}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two kinds of speech in `first`, and one that started from it in `second`."""
    folder = tmp_path_factory.mktemp("runs")
    sources = {"speech": VOICES, "speech_weights": [3.0, 1.0]}
    start = str(folder / "first" / "best.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "_draw", lambda path, *_: path.touch())  # curves take their time
        train(folder / "first", narrow=False, epochs=1, accumulate=2, recompute=True, **sources)
        train(folder / "second", narrow=False, epochs=1, learning_rate=0.001, start_from=start)
    return folder


def test_of_a_run(runs: Path) -> None:
    facts = described(runs / "first" / "best.pth")
    assert facts["network"].startswith("v4-small, 2,728,017 parameters; loss L1, optimiser Adam")
    assert re.fullmatch(r"\d\d\.\d MB in float32, to clean with and to resume", facts["file"])
    assert re.fullmatch(r"1 of 1 epoch, 2 steps, [\d.]+ s", facts["trained"])
    row = load_checkpoint(runs / "first" / "best.pth").history[-1]
    assert facts["validation"].startswith(f"epoch 1: SI-SDR {row['validation_si_sdr']:.2f} dB (")
    assert facts["computed"] == ("on cpu: --accumulate 2, --recompute, --save-every 120.0")
    assert facts["speech"] == "75 % {}, 25 % {}".format(*VOICES)
    assert facts["noise"] == str(NOISE)
    assert re.fullmatch(r"\* --batch-size +2", facts["--batch-size"])
    assert re.fullmatch(r"  --lr +0.0001", facts["--lr"])
    told = {name for name in facts if name.startswith("--")}
    assert len(told) == len(options().as_dict()) - 4  # version, size and the weights of two kinds


def test_of_a_run_that_started_from_another_one(runs: Path) -> None:
    facts = described(runs / "second" / "last.pth")
    assert re.match(r"1 of 1 epoch, 2 steps \(4 with the runs before it\), ", facts["trained"])
    assert re.match(r"1 epoch, 2 steps, [\d.]+ s, --lr 0.0001; epoch 1: ", facts["before, 1"])
    assert re.fullmatch(r"\* --lr +0.001", facts["--lr"])
    assert facts["--start-from"].endswith(str(runs / "first" / "best.pth"))


def test_of_v5_the_licence_is_told_and_travels(tmp_path: Path) -> None:
    train(tmp_path / "run", "v5", narrow=False, epochs=1)
    export(load_checkpoint(tmp_path / "run" / "best.pth"), tmp_path / "small.safetensors")
    assert (tmp_path / "small.safetensors").stat().st_size < 1e6
    for path in (tmp_path / "run" / "best.pth", tmp_path / "small.safetensors"):
        facts = described(path)
        assert facts["licence"].startswith("non-commercial use: UrbanSound8K")
        assert facts["network"].startswith("v5-small, 82,024 parameters")
        assert re.fullmatch(r"\* --clip-seconds +0.5", facts["--clip-seconds"])


def test_an_export_keeps_the_figures_and_no_folder(runs: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(runs / "second" / "best.pth")
    export(checkpoint, tmp_path / "small.safetensors")
    facts, before = described(tmp_path / "small.safetensors"), described(checkpoint.path)
    assert "in float16, to clean with" in facts["file"]
    assert not {"computed", "speech", "noise"} & facts.keys()
    assert facts["validation"] == before["validation"]
    assert re.fullmatch(r"\* --start-from +best.pth", facts["--start-from"])
    assert str(runs).encode() not in (tmp_path / "small.safetensors").read_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_of_a_version_that_ships(version: str) -> None:
    size = "base" if version == "v5" else "small"
    assert described(version)["network"].startswith(f"{version}-{size}, ")


def test_a_file_without_records(tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "bare.pth")
    assert described(tmp_path / "bare.pth")["trained"] == "0 epochs, 7 steps, 0.0 s"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"history": [{"epoch": 1}]}, "does not keep its records"),
        ({"place": {"device": "cpu"}}, "does not keep its records"),
        ({"place": "cpu"}, "does not keep its records"),
    ],
)
def test_refusals(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    torch.save(content(**changes), tmp_path / "odd.pth")
    result = denoise("models", tmp_path / "odd.pth")
    assert result.code == 2
    assert "odd.pth" in result.sentence and sentence in result.sentence


def test_what_a_terminal_would_obey_is_spelt_out(tmp_path: Path) -> None:
    torch.save(content(options={"schedule": "\x1b[2J"}), tmp_path / "odd.pth")
    assert r"\x1b[2J" in described(tmp_path / "odd.pth")["--schedule"]
