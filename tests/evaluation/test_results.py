"""Results are summed up with honest intervals, kept in a file, and updated row by row."""

import json

import numpy as np
import pytest

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
