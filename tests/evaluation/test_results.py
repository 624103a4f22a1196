"""Results are summed up with honest intervals, kept in a file, and updated row by row."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising.errors import UserError
from audio_denoising.evaluation.results import (
    NOISY,
    RESAMPLES,
    Evaluation,
    Result,
    bootstrap_mean,
    read,
    summarise,
    write,
)


def evaluation(**ratios):
    """One of four recordings; the SI-SDR of each candidate is so much above 1, 2, 6 and 60."""
    places = (("one", "rain", 0.0, 1), ("one", "rain", 5.0, 2), ("one", "dog", 5.0, 6),
              ("two", "", None, 60))  # fmt: skip
    results = [
        Result(part, f"{part} {n}", noise, snr, 2.0, f"digest {n}",
               {who: {"si_sdr": float(base + more), "stoi": None} for who, more in ratios.items()})
        for n, (part, noise, snr, base) in enumerate(places)
    ]  # fmt: skip
    speeds = {name: 0.1 for name in ratios if name != NOISY}
    runs = [{"judged": list(ratios), "date": f"of {', '.join(ratios)}"}]
    return Evaluation(results, speeds, dict.fromkeys(speeds, "weights"), runs)


def test_means_are_of_each_part_level_and_noise():
    found = summarise(evaluation(v4=0))
    one, two = found["one"], found["two"]
    assert (list(found), one["count"], two["count"]) == (["one", "two"], 3, 1)
    assert one["all"]["v4"]["si_sdr"][0] == 3.0
    assert {s: m["v4"]["si_sdr"][0] for s, m in one["by_snr"].items()} == {"0": 1.0, "5": 4.0}
    assert {k: m["v4"]["si_sdr"][0] for k, m in one["by_noise"].items()} == {"dog": 6, "rain": 1.5}
    assert two["by_snr"] == two["by_noise"] == {}
    assert "stoi" not in one["all"]["v4"]  # nowhere defined


def test_a_file_holds_the_evaluation_and_the_means_that_follow_from_it(tmp_path):
    path = tmp_path / "new" / "quality.json"
    write(evaluation(v4=0.5), path)
    kept = json.loads(path.read_text())
    mean, low, high = kept["summary"]["one"]["all"]["v4"]["si_sdr"]
    assert mean == 3.5 and low <= mean <= high
    assert kept["summary"]["one"]["by_snr"].keys() == {"0", "5"}
    assert kept["summary"]["one"]["by_noise"].keys() == {"dog", "rain"}
    column = kept["metrics"].index("si_sdr")
    assert [item["scores"]["v4"][column] for item in kept["items"]] == [1.5, 2.5, 6.5, 60.5]
    assert read(path).names == ["v4"]
    write(read(path), path)
    assert json.loads(path.read_text()) == kept
    assert [file.name for file in path.parent.iterdir()] == ["quality.json"]


def test_an_update_keeps_the_rows_of_others_and_where_they_come_from():
    earlier = evaluation(**{NOISY: 0, "v4": 1, "RNNoise": 2})
    found = earlier.updated(evaluation(**{NOISY: 0, "v5": 3, "v4": 4}))
    assert found.names == [NOISY, "v4", "v5", "RNNoise"]
    scores = {name: each["si_sdr"] for name, each in found.results[0].scores.items()}
    assert scores == {NOISY: 1, "v4": 5, "RNNoise": 3, "v5": 4}
    assert [run["judged"] for run in found.runs] == [["RNNoise"], [NOISY, "v5", "v4"]]
    assert found.runs[0]["date"] == "of noisy input, v4, RNNoise"
    assert found.weights.keys() == found.real_time_factor.keys() == {"v4", "v5", "RNNoise"}


def test_an_update_on_other_recordings_is_refused():
    earlier, newer = evaluation(v4=1), evaluation(v5=1)
    newer.results[1] = dataclasses.replace(newer.results[1], sha256="other")
    with pytest.raises(UserError, match="other recordings"):
        earlier.updated(newer)
    with pytest.raises(UserError, match="other recordings"):
        earlier.updated(dataclasses.replace(newer, results=newer.results[:1]))


@pytest.mark.parametrize("content", ["no json", "[]", '{"metrics": []}'])
def test_a_file_that_is_no_evaluation_is_refused(content, tmp_path):
    path = tmp_path / "notes.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"notes.json is not a file that `denoise evaluate"):
        read(path)
    with pytest.raises(UserError, match=r"gone.json cannot be read"):
        read(tmp_path / "gone.json")


def test_the_interval_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    scores = np.random.default_rng(0).gamma(2.0, 3.0, 60)
    theirs = stats.bootstrap(
        (scores,), np.mean, n_resamples=20 * RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    mean, low, high = bootstrap_mean(scores)
    # Two thousand resamples place a bound within a tenth of the interval's half.
    slack = 0.1 * (theirs.high - theirs.low)
    assert mean == pytest.approx(scores.mean(), abs=1e-4)
    assert low == pytest.approx(theirs.low, abs=slack)
    assert high == pytest.approx(theirs.high, abs=slack)


@given(st.lists(st.floats(-60, 60), min_size=1, max_size=20))
def test_the_mean_lies_between_its_bounds(scores):
    found = bootstrap_mean(scores)
    mean, low, high = found
    assert min(scores) - 1e-4 <= low <= high <= max(scores) + 1e-4
    assert mean == pytest.approx(np.mean(scores), abs=1e-4)
    assert found == bootstrap_mean(scores)
