"""`denoise data check` finds every fault, names it, and says whether training could run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from audio_denoising.cli import check as cli_check
from audio_denoising.cli.data import data_app
from audio_denoising.corpora.corpus import index_speech
from audio_denoising.corpora.sources import Source
from audio_denoising.corpora.splits import split
from audio_denoising.mixing import check as check_module
from audio_denoising.mixing.check import Check, check, examine
from audio_denoising.mixing.kept_library import KeptLibrary
from audio_denoising.mixing.library import Library

TINY = Path(__file__).parent.parent / "data"


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "_SECONDS", 0.01)


@pytest.fixture
def own(write, tmp_path: Path) -> Path:
    """Two voices with three files each, and four noises."""
    for name in ("anna/1", "anna/2", "anna/3", "ben/1", "ben/2", "ben/3"):
        write(f"speech/{name}.wav", seconds=0.5)
    for name in ("rain", "wind", "hum", "street"):
        write(f"noise/{name}.wav", seconds=0.5)
    return tmp_path


def look(root: Path, **options: object) -> Check:
    speech, noise = ([Source(str(root / what))] for what in ("speech", "noise"))
    return check(speech, noise, **options)


def faults(report: Check) -> dict[str, str]:
    return {f.path.name: f.fault for folder in report.folders for f in folder.findings}


def command(
    monkeypatch: pytest.MonkeyPatch, root: Path, *options: str, folders: Sequence[str] = ()
) -> tuple[int, str]:
    """Exit code and what an 80-column terminal shows."""
    console = Console(width=80, record=True, highlight=False, emoji=False)
    monkeypatch.setattr(cli_check, "console", console)
    speech, noise = folders or ("speech", "noise")
    places = ["--speech", str(root / speech), "--noise", str(root / noise)]
    result = CliRunner().invoke(data_app, ["check", *places, *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, console.export_text()


def test_the_tiny_corpus_can_train(monkeypatch):
    code, text = command(monkeypatch, TINY, folders=("LibriSpeech", "noise"))
    assert code == 0
    assert "Training can run." in text and "Training cannot run" not in text
    assert all(part in text for part in ("train-clean-100 8", "test-clean 3", "fold10 2"))
    assert "opus 13, flac 2" in text and "16 kHz" in text
    assert "mixtures/s" in text and "Every file found can be used." in text
    assert "--batch-size 8" in text  # eight utterances train, a batch is sixteen
    figures = [line.split()[-3:] for line in text.splitlines() if " files " in line]
    assert figures == [["8", "4", "3"], ["11", "2", "2"]]
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("       "))


def test_every_fault_is_found_named_and_counted_and_training_can_still_run(own, write, monkeypatch):
    (own / "speech/ben/header.flac").write_bytes(b"no audio")
    (own / "speech/ben/empty.wav").touch()
    cut = write("speech/ben/cut.flac", seconds=2)
    cut.write_bytes(cut.read_bytes()[:9_000])
    write("speech/ben/nan.wav", samples=np.array([0.1, np.nan] * 500), subtype="FLOAT")
    write("speech/ben/silent.wav", samples=np.zeros(8_000))
    loud = 2 * np.sin(np.arange(8_000) / 9)
    write("noise/loud.wav", samples=np.clip(loud, -1, 1))
    write("noise/click.wav", samples=np.full(100, 0.2))
    report = look(own)
    assert faults(report) == {
        "header.flac": "unreadable",
        "empty.wav": "unreadable",
        "cut.flac": "damaged",
        "nan.wav": "damaged",
        "silent.wav": "silent",
        "loud.wav": "clipped",
        "click.wav": "too short",
    }
    assert report.problems == [] and report.rate is not None
    code, text = command(monkeypatch, own)
    assert code == 0
    assert "Unusable, passed over by training: 5" in text
    assert "Used by training, but worth a look: 2" in text
    for name in faults(report):
        assert name in text
    quick = look(own, quick=True)
    assert set(faults(quick)) == {"header.flac", "empty.wav", "click.wav"}
    assert quick.rate is None and quick.problems == []


def test_what_check_calls_damaged_is_what_training_passes_over(own, write):
    cut = write("speech/ben/cut.flac", seconds=2)
    cut.write_bytes(cut.read_bytes()[:9_000])
    recordings = index_speech(own / "speech")
    library = Library()
    library.add(recordings)
    assert library.damaged(recordings) == [cut]
    assert [r.path for r in recordings if any(f.fault == "damaged" for f in examine(r))] == [cut]


def test_many_faults_are_counted_and_named_on_request(own, monkeypatch):
    for number in range(8):
        (own / f"noise/broken{number}.wav").write_bytes(b"RIFF")
    code, text = command(monkeypatch, own)
    assert code == 0 and "8 noise unreadable" in text
    assert "broken4" in text and "broken5" not in text and "and 3 more" in text
    _, text = command(monkeypatch, own, "--all")
    assert "broken7" in text and "more (--all" not in text


def test_folders_of_nothing_readable_are_one_sentence_each(own, monkeypatch):
    for name in ("nothing", "neither"):
        (own / name).mkdir()
        (own / name / "text.wav").write_text("no sound")
    code, text = command(monkeypatch, own, folders=("nothing", "neither"))
    assert code == 1
    assert text.count("Training cannot run.") == 2
    assert text.count("none of its 1 audio files can be read") == 2
    assert "Training can run." not in text


def test_several_folders_are_looked_at_together(own, write, monkeypatch):
    write("more/carl/1.wav", seconds=1.5)
    more = ["--speech", f"{own / 'more'}=3", "--noise", f"{own / 'noise'}=1"]
    (own / "hiss").mkdir()
    (own / "noise/rain.wav").rename(own / "hiss/rain.wav")
    (own / "hiss/empty.wav").touch()
    code, text = command(monkeypatch, own, *more, folders=("speech=1", "hiss=1"))
    assert code == 0
    flat = " ".join(text.split())
    assert f"{own / 'more'}, weight 3" in flat
    assert f"1 noise unreadable in {own / 'hiss'}" in flat
    assert "files 7 4" in flat and "speakers, sources 3 4" in flat
    code, text = command(monkeypatch, own, "--speech", str(own), folders=("speech", "noise"))
    assert code == 1 and "is in two of the folders given" in " ".join(text.split())


def test_what_lies_decoded_is_told(own, monkeypatch):
    recordings = index_speech(own / "speech")
    KeptLibrary(own / "decoded").add(recordings)
    code, text = command(monkeypatch, own, "--cache", str(own / "decoded"))
    assert code == 0
    assert f"Cache {len(recordings)} of 10 recordings lie decoded in" in " ".join(text.split())
    (own / "decoded" / "index.json").write_text("broken")
    code, text = command(monkeypatch, own, "--cache", str(own / "decoded"))
    assert code == 1 and "holds no readable recordings" in " ".join(text.split())


def test_a_split_of_silence_is_a_problem(own, write):
    splits = split(index_speech(own / "speech"), index_speech(own / "noise"))
    for recording in splits.validation.speech:
        name = recording.path.relative_to(own).as_posix()
        write(name, samples=np.zeros(8_000))
    problems = look(own).problems
    assert len(problems) == 1 and "in the validation split can be used" in problems[0]
    assert look(own, quick=True).problems == []


def test_held_out_voices_validate(own, monkeypatch):
    report = look(own, hold_out=["anna", "rain"], quick=True)
    assert report.splits is not None
    assert {r.group for r in report.splits.validation.speech} == {"speaker/anna"}
    assert {r.group for r in report.splits.validation.noise} == {"file/rain"}
    code, text = command(monkeypatch, own, "--quick", "--hold-out", str(own / "speech/ben"))
    assert code == 0 and "Only headers were read" in text
