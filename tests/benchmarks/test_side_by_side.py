"""Denoisers are measured beside one another, each in its own process, file to file and by hops."""

import pytest
import soundfile

from benchmarks import side_by_side
from benchmarks.inference import make_alike
from benchmarks.side_by_side import Hops, measure, medians, side_by_side_table, trials


def test_a_recording_is_timed_file_to_file_and_hop_by_hop(tmp_path, monkeypatch):
    recording = make_alike(tmp_path / "alike.wav", 2)
    assert soundfile.info(recording).frames == 32_000
    cleaned, heard = [], []

    def clean(noisy, output):
        soundfile.write(output, *soundfile.read(noisy))
        cleaned.append(noisy)

    monkeypatch.setattr(
        side_by_side, "load", lambda who: (clean, Hops(48_000, 480, 1440, heard.append))
    )
    trial = measure("somebody", recording)
    assert cleaned == [recording] and len(heard) == 200 and heard[0].shape == (480,)
    assert trial["hop_ms"] == 10 and trial["latency_ms"] == 30
    assert trial["file"] > 0 and trial["hop_work_ms"] >= 0


def test_a_version_that_wants_the_whole_recording_has_no_hops(tmp_path):
    (trial,) = trials(["v2"], make_alike(tmp_path / "alike.wav", 1), rounds=1)
    assert trial["who"] == "v2" and trial["file"] > 0 and trial["memory_mb"] > 0
    assert "hop_ms" not in trial


def test_the_table_is_of_medians():
    hops = {"hop_ms": 10.0, "hop_work_ms": 2.0, "latency_ms": 40.0}
    found = [
        {"who": who, "load": 1.0, "file": value, "memory_mb": 100.0} | (hops if who == "b" else {})
        for value in (0.1, 0.5, 0.2)
        for who in ("a", "b")
    ]
    lines = side_by_side_table(medians(found), 60).splitlines()
    assert lines[2:4] == [
        "| a | 0.200 |  |  |  | all | 100 |",
        "| b | 0.200 | 10.0 | 2.00 | 0.200 | 40 | 100 |",
    ]


def test_everybody_who_is_there_takes_part(monkeypatch):
    monkeypatch.setattr(side_by_side, "_runs", lambda name: name == "GTCRN")
    assert side_by_side.contestants() == [*side_by_side.MODELS, "GTCRN"]


def test_an_unknown_name_ends_the_run(monkeypatch):
    monkeypatch.setattr(side_by_side.sys, "argv", ["side_by_side", "v9", "gone.wav"])
    with pytest.raises(SystemExit, match="there is no version v9"):
        side_by_side.main()
