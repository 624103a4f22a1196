"""A run of the fuzzer counts every input, tells every fault, and keeps what led to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="limits of a process are a matter of Unix")

from benchmarks import fuzz
from benchmarks.fuzz_worker import Outcome

FAULT = Outcome("crash", "SIGSEGV")


def run(monkeypatch: pytest.MonkeyPatch, arguments: list[str], *outcomes: Outcome) -> int:
    def fed(kind: str, inputs: int, seed: int) -> Iterator[tuple[int, str, bytes, Outcome]]:
        for index, outcome in enumerate(outcomes):
            yield index, f".{kind}", f"{kind} {index}".encode(), outcome

    monkeypatch.setattr(fuzz, "fuzz", fed)
    return fuzz.main(["--inputs", str(len(outcomes)), *arguments])


def test_a_run_without_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fuzz.json"
    good = (Outcome("accepted", "", 100.0), Outcome("refused", "no", 300.0), Outcome("refused"))
    assert run(monkeypatch, ["--kind", "wav", "--json", str(file)], *good) == 0
    found = json.loads(file.read_text())
    assert (found["seed"], found["inputs"], found["limits"]["memory_mib"]) == (0, 3, 2048)
    (row,) = found["kinds"]
    assert (row["accepted"], row["refused"], row["crash"], row["peak_mib"]) == (1, 2, 0, 300)
    assert row["faults"] == []
    assert "wav" in capsys.readouterr().out


def test_a_fault_is_told_kept_and_ends_in_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, keep = tmp_path / "fuzz.json", tmp_path / "keep"
    arguments = ["--kind", "mp4", "--json", str(file), "--keep", str(keep)]
    assert run(monkeypatch, arguments, Outcome("accepted"), FAULT) == 1
    assert "mp4 1: crash: SIGSEGV" in capsys.readouterr().err
    assert (keep / "mp4-1.mp4").read_bytes() == b"mp4 1"
    (row,) = json.loads(file.read_text())["kinds"]
    assert row["crash"] == 1
    assert row["faults"] == [{"index": 1, "fault": "crash", "detail": "SIGSEGV"}]


def test_kinds_can_be_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tmp_path / "fuzz.json")
    for kind in ("mp4", "wav", "mp4"):
        run(monkeypatch, ["--kind", kind, "--json", file], Outcome("accepted"))
    found = json.loads(Path(file).read_text())
    assert [row["kind"] for row in found["kinds"]] == ["wav", "mp4"]
    assert found["inputs"] == 2
    run(monkeypatch, ["--kind", "mp4", "--json", file, "--seed", "1"], FAULT)
    found = json.loads(Path(file).read_text())
    assert [row["kind"] for row in found["kinds"]] == ["mp4"]  # another seed: other inputs
