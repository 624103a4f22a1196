"""The inference benchmark measures what it says, and its tables follow from its trials."""

import json

import pytest
import soundfile

from benchmarks import inference
from benchmarks.inference import (
    ALIKE_RATE,
    GATING,
    LONG_RATE,
    Hops,
    inference_table,
    make_recording,
    measure,
    merged,
    plan,
)

HERE, THERE = {"cpu": "here", "cores": 2}, {"cpu": "there", "cores": 4}


def trial(who, threads, seconds, elapsed, growth=100.0, rate=LONG_RATE, **more):
    point = {"who": who, "threads": threads, "rate": rate, "seconds": seconds, "load": 1.0}
    return point | {"elapsed": elapsed, "processor": 2 * elapsed, "growth_mib": growth} | more


TRIALS = [
    trial(GATING[1], 1, 10, 4.0, 400.0),
    trial("v4", 2, 10, 0.5),
    *(trial("v4", 1, 10, elapsed, 100 * elapsed) for elapsed in (1.0, 3.0, 2.0)),
    trial("v4", 1, 3600, 360.0),
]


def test_the_recording_is_stereo_of_its_length_and_goes_on_where_it_repeats(tmp_path):
    samples, rate = soundfile.read(make_recording(tmp_path / "noisy.wav", LONG_RATE, 8))
    assert (rate, samples.shape) == (48_000, (8 * 48_000, 2))
    period = 99_680 * 3  # of the example
    assert (samples[period:] == samples[: len(samples) - period]).all()
    assert (samples[:, 0] != samples[:, 1]).any()
    alike = soundfile.info(make_recording(tmp_path / "alike.wav", ALIKE_RATE, 2))
    assert (alike.samplerate, alike.channels, alike.frames) == (16_000, 1, 32_000)


def test_the_longest_recordings_are_for_networks_on_the_first_number_of_threads():
    sets = list(plan(["v4", "v5"], [3600, 10], [1, 2], GATING))
    networks = {("v4", 1), ("v4", 2), ("v5", 1)}  # v5 computes on one
    assert {point[:2] for point in sets[0]} == networks | {(name, 1) for name in GATING}
    assert {point[:2] for point in sets[1]} == {("v4", 1), ("v5", 1)}


def test_points_measured_earlier_stay_with_their_machine_unless_measured_anew(tmp_path):
    path = tmp_path / "inference.json"
    path.write_text(json.dumps(merged(None, TRIALS, THERE)))
    results = merged(path, [trial("v5", 1, 10, 0.3), trial("v4", 1, 10, 0.9)], HERE)
    rows = inference_table(results).splitlines()
    assert "| v4, 1 thread | 10 s | 0.090 | 0.180 | 105 |" in rows
    assert "| v5, 1 thread | 10 s | 0.030 | 0.060 | 105 |" in rows
    assert len([trial for trial in results["trials"] if trial["who"] == "v4"]) == 3
    assert rows[-1].split("; ") == [
        "v4 (1 h), v4 (10 s), noisereduce, stationary (10 s): there, 4 processors",
        "v5 (10 s), v4 (10 s): here, 2 processors.",
    ]


def test_a_recording_is_cleaned_file_to_file_and_hop_by_hop(tmp_path, monkeypatch):
    recording = make_recording(tmp_path / "alike.wav", ALIKE_RATE, 2)
    cleaned, heard = [], []

    def clean(noisy, output):
        soundfile.write(output, *soundfile.read(noisy))
        cleaned.append(noisy)

    monkeypatch.setattr(
        inference, "load", lambda who: (clean, Hops(48_000, 480, 1440, heard.append))
    )
    found = measure("somebody", recording)
    assert cleaned == [recording] and len(heard) == 200 and heard[0].shape == (480,)
    assert found["hop_ms"] == 10 and found["latency_ms"] == 30
    assert found["processor"] > 0 and 0 <= found["hop_work_ms"] <= found["hop_worst_ms"]


def test_everything_is_measured_and_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(inference, "contestants", lambda: ["v5"])
    monkeypatch.setattr(inference, "find_spec", lambda name: None)
    path = tmp_path / "out" / "inference.json"
    few = ["--model", "v5", "--seconds", "1", "--threads", "1", "--alike", "1", "--rounds", "1"]
    inference.main([*few, "--json", str(path)])
    alike, long = json.loads(path.read_text(encoding="utf-8"))["trials"]
    assert long["rate"] == 48_000 and "hop_ms" not in long
    assert alike["rate"] == 16_000 and alike["hop_ms"] == 16.0  # 256 samples
    assert all(0 < each["growth_mib"] < 600 for each in (long, alike))
    assert "v5, 1 thread" in capsys.readouterr().out
    assert [entry.name for entry in path.parent.iterdir()] == ["inference.json"]


def test_a_model_that_is_not_there_ends_the_run():
    with pytest.raises(SystemExit, match="there is no version v9"):
        inference.main(["--model", "v9", "--seconds", "1", "--threads", "1", "--alike", "0"])
