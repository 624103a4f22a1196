"""The inference benchmark measures what it says, and its figures follow from its trials."""

import json

import pytest
import soundfile

from benchmarks import inference
from benchmarks.inference import OURS, PEERS, kept, make_recording, plan, summary
from benchmarks.inference_report import duration, inference_table

PLACE = {"model": "v4", "machine": {"cores": 2}}


def trial(side, threads, seconds, elapsed, growth):
    point = {"side": side, "threads": threads, "seconds": seconds, "load": 1.0}
    return point | {"elapsed": elapsed, "processor": 2 * elapsed, "growth_mib": growth}


TRIALS = [
    trial(OURS, 1, 10, 1.0, 100.0),
    trial(OURS, 1, 10, 3.0, 300.0),
    trial(OURS, 1, 10, 2.0, 200.0),
    trial(OURS, 1, 3600, 360.0, 250.0),
    trial(OURS, 2, 10, 0.5, 150.0),
    trial("stationary", 1, 10, 4.0, 400.0),
]


def test_the_recording_is_stereo_of_its_length_and_goes_on_where_it_repeats(tmp_path):
    path = make_recording(tmp_path / "noisy.wav", 8)
    samples, rate = soundfile.read(path, dtype="float32")
    assert (rate, samples.shape) == (48_000, (8 * 48_000, 2))
    period = 99_680 * 3  # of the example
    assert (samples[period:] == samples[: len(samples) - period]).all()
    assert (samples[:, 0] != samples[:, 1]).any()
    assert samples.std(axis=0) == pytest.approx([0.05, 0.05], abs=0.04)


def test_contestants_take_turns_and_the_longest_recordings_are_measured_once():
    rounds = list(plan([3600, 10, 600], [1, 2], rounds=3, peers=True))
    everyone = {(OURS, 1), (OURS, 2), *((peer, 1) for peer in PEERS)}
    assert [points[0][2] for points in rounds] == [10, 10, 10, 600, 3600]
    assert all({point[:2] for point in points} == everyone for points in rounds[:-1])
    assert len({points[0] for points in rounds[:3]}) == 3  # who goes first
    assert rounds[-1] == [(OURS, 1, 3600)]
    assert {side for side, *_ in next(plan([10], [1], 1, peers=False))} == {OURS}


def test_the_figures_follow_from_the_trials():
    found = summary(TRIALS)
    assert found["rtf"] == {"1": {"10": 0.2, "3600": 0.1}, "2": {"10": 0.05}}
    assert found["processor_rtf"]["1"]["3600"] == 0.2
    assert found["memory_mb"]["1"]["10"] == pytest.approx(209.7152)
    assert found["memory_growth"] == 1.25
    assert found["peer_rtf"] == {"stationary": {"10": 0.4}}
    assert found["peer_memory_mb"] == {"stationary": {"10": pytest.approx(419.4304)}}
    assert summary(TRIALS[:1])["memory_growth"] is None


def test_points_of_the_same_model_and_machine_stay_unless_measured_anew(tmp_path):
    path = tmp_path / "inference.json"
    path.write_text(json.dumps(PLACE | {"trials": TRIALS}))
    assert kept(path, PLACE | {"trials": TRIALS[:1]}) == TRIALS[3:]
    assert kept(path, PLACE | {"trials": TRIALS[:1], "model": "v3"}) == []
    assert kept(tmp_path / "none.json", PLACE | {"trials": []}) == []


def test_the_table_has_a_row_for_every_point():
    rows = inference_table(summary(TRIALS) | PLACE | {"trials": TRIALS}).splitlines()
    assert rows[2:6] == [
        "| v4, 1 thread | 10 s | 0.200 | 0.400 | 210 |",
        "| v4, 1 thread | 1 h | 0.100 | 0.200 | 262 |",
        "| v4, 2 threads | 10 s | 0.050 | 0.100 | 157 |",
        "| noisereduce, stationary | 10 s | 0.400 | 0.800 | 419 |",
    ]
    assert [duration(seconds) for seconds in (90, 600, 7200)] == ["90 s", "10 min", "2 h"]


def test_everything_is_measured_and_written(tmp_path, capsys):
    pytest.importorskip("noisereduce")
    path, picture = tmp_path / "out" / "inference.json", tmp_path / "inference.png"
    options = ["--rounds", "1", "--alike", "0", "--json", str(path), "--figure", str(picture)]
    inference.main(["--seconds", "1", "--threads", "1", *options])
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results.keys() >= {"rtf", "memory_mb", "memory_growth", "peer_rtf", "peer_memory_mb"}
    assert results["machine"]["cores"] >= 1
    assert {each["side"] for each in results["trials"]} == {OURS, *PEERS}
    assert all(0 < each["growth_mib"] < 600 for each in results["trials"])
    assert results["rtf"].keys() == {"1"} and results["peer_rtf"].keys() == set(PEERS)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "noisereduce, stationary" in capsys.readouterr().out
    assert [entry.name for entry in path.parent.iterdir()] == ["inference.json"]


def test_a_model_that_is_not_there_ends_the_run(capfd):
    with pytest.raises(SystemExit):
        inference.main(["--model", "v9", "--seconds", "1", "--threads", "1", "--rounds", "1"])
    assert "there is no version v9" in capfd.readouterr().err
