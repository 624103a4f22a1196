"""An evaluation scores everybody on everything, the same on any number of processes."""

import dataclasses
import json
import math

import numpy as np
import pytest
import soundfile

from audio_denoising.errors import UserError
from audio_denoising.evaluation import scores as scores_module
from audio_denoising.evaluation.candidates import NOISY, Candidate, candidates
from audio_denoising.evaluation.frozen_lists import CLEAN, frozen_items
from audio_denoising.evaluation.results import content, write
from audio_denoising.evaluation.runner import Result, evaluate
from audio_denoising.evaluation.scores import METRICS, missing, score
from audio_denoising.evaluation.summary import means, real_time_factors, summarise
from audio_denoising.evaluation.testset import Item, folder_items
from tests.evaluation.conftest import voice
from tests.evaluation.test_frozen_lists import ROWS

RATE = 16_000


class Oracle(Candidate):
    """Knows the clean speech: takes nine tenths of the noise away."""

    def build(self):
        voices = [voice(seed) for seed in range(4)]

        def clean(noisy, rate):
            best = max(voices, key=lambda v: float(v @ noisy))
            return (0.9 * best + 0.1 * noisy).astype(np.float32)

        return clean


class Mute(Candidate):
    """Lets nothing pass."""

    def build(self):
        return lambda noisy, rate: np.zeros_like(noisy)


ORACLE, MUTE = Oracle("oracle", "oracle"), Mute("mute", "mute")


def without_times(results):
    return [dataclasses.replace(result, work_seconds={}) for result in results]


def test_every_candidate_is_scored_on_every_item(set_folder):
    done = []
    results = evaluate(folder_items(set_folder), [ORACLE, MUTE], jobs=1, progress=done.append)
    assert done == [1, 2, 3, 4]
    assert [result.snr_db for result in results] == [5, 10, 5, 10]
    for result in results:
        assert list(result.scores) == [NOISY, "oracle", "mute"]
        noisy, oracle = result.scores[NOISY], result.scores["oracle"]
        assert noisy["si_sdr"] == pytest.approx(result.snr_db, abs=0.5)
        assert oracle["si_sdr"] == pytest.approx(result.snr_db + 20, abs=0.5)
        for metric in noisy.keys() - {"sig", "bak", "ovrl"}:
            better = oracle[metric] - noisy[metric]
            assert better > 0 if METRICS[metric].rising else better < 0, metric
        assert result.scores["mute"]["si_sdr"] == -60.0  # a silent output counts, but finitely
        assert result.seconds == 2.3 and result.work_seconds["mute"] >= 0


def test_two_processes_give_the_numbers_of_one(set_folder):
    items = folder_items(set_folder)[:2]
    models = candidates(["v2"], peers=False)
    alone = evaluate(items, models, jobs=1)
    assert without_times(evaluate(items, models, jobs=1)) == without_times(alone)
    assert without_times(evaluate(items, models, jobs=2)) == without_times(alone)


def test_clean_speech_is_not_scored_as_noisy_input(corpora, tmp_path):
    clean = [item for item in frozen_items(ROWS, *corpora, tmp_path) if item.part == CLEAN]
    (result,) = evaluate(clean, [MUTE], jobs=1)
    assert list(result.scores) == ["mute"] and result.snr_db is None


def test_samples_other_than_listed_are_told(corpora, tmp_path):
    (item,) = frozen_items(ROWS[:1], *corpora, tmp_path)
    (found,) = evaluate([item], [], jobs=1)
    assert found.as_listed
    (other,) = evaluate([dataclasses.replace(item, sha256="0" * 16)], [], jobs=1)
    assert not other.as_listed and other.sha256 == found.sha256


def test_a_silent_reference_leaves_what_is_not_defined_blank():
    scores = score(0.1 * voice(0), np.zeros_like(voice(0)))
    intrusive = scores.keys() - {"sig", "bak", "ovrl"}
    assert {scores[metric] for metric in intrusive} == {None}


def test_a_pair_too_short_for_pesq_and_stoi_keeps_the_other_metrics():
    short = voice(0)[3000:4600]
    scores = score(0.9 * short, short)
    assert scores["si_sdr"] == 60.0
    assert 0 < scores["lsd"] < 1 and scores["segmental_snr"] == pytest.approx(20, abs=0.1)
    assert {scores[m] for m in ("pesq_wb", "stoi", "estoi") if m in scores} <= {None}


def test_metrics_without_their_package_are_left_out(monkeypatch):
    there = scores_module.find_spec
    monkeypatch.setattr(
        scores_module, "find_spec", lambda name: None if name == "pesq" else there(name)
    )
    assert missing()["pesq"] == ("pesq_wb",)
    scores = score(voice(0), voice(0))
    assert "pesq_wb" not in scores and "si_sdr" in scores


def result(part, noise, snr_db, ratio, seconds=2.0, work=0.5):
    return Result(
        part,
        "x",
        noise,
        snr_db,
        seconds,
        "",
        True,
        {"a": {"si_sdr": ratio, "stoi": None}},
        {"a": work},
    )


RESULTS = [
    result("one", "rain", 0.0, 1.0),
    result("one", "rain", 5.0, 2.0),
    result("one", "dog", 5.0, 6.0, seconds=6.0, work=0.3),
    result("two", "", None, 60.0),
]


def test_means_are_of_each_part_level_and_noise():
    one, two = summarise(RESULTS)
    assert (one.part, one.count, two.count) == ("one", 3, 1)
    assert one.overall["a"]["si_sdr"].mean == 3.0
    assert {level: m["a"]["si_sdr"].mean for level, m in one.by_snr.items()} == {0.0: 1.0, 5.0: 4.0}
    assert {name: m["a"]["si_sdr"].count for name, m in one.by_noise.items()} == {
        "dog": 1,
        "rain": 2,
    }
    assert two.by_snr == two.by_noise == {}
    assert "stoi" not in one.overall["a"]  # nowhere defined
    assert means([]) == {}


def test_the_real_time_factor_is_work_over_audio():
    assert real_time_factors(RESULTS) == {"a": pytest.approx(1.8 / 12.0)}


def test_everything_is_kept_in_the_file_and_means_follow_from_the_scores(set_folder, tmp_path):
    chosen = candidates(["v2"], peers=False)
    results = evaluate(folder_items(set_folder), chosen, jobs=1)
    path = tmp_path / "new" / "quality.json"
    write(content(results, summarise(results), chosen, jobs=1), path)
    kept = json.loads(path.read_text())
    assert kept["weights"]["v2"] == chosen[0].digest() and len(kept["weights"]["v2"]) == 32
    assert kept["packages"]["torch"] and "pesq" in kept["packages"]
    assert kept["machine"]["processes"] == 1
    column = kept["metrics"].index("si_sdr")
    ratios = [item["scores"]["v2"][column] for item in kept["items"]]
    mean, low, high = kept["summary"]["set"]["all"]["v2"]["si_sdr"]
    assert mean == pytest.approx(np.mean(ratios), abs=1e-4) and low <= mean <= high
    assert kept["summary"]["set"]["by_snr"].keys() == {"5", "10"}
    assert kept["summary"]["set"]["by_noise"].keys() == {"dog bark", "rain"}
    assert [file.name for file in path.parent.iterdir()] == ["quality.json"]
    assert not math.isnan(kept["real_time_factor"]["v2"])


def test_models_go_by_file_and_folder_and_unknown_ones_are_refused(tmp_path):
    (found,) = candidates([str(tmp_path / "runs/v4-small/best.pth")], peers=False)
    assert found.title == "v4-small/best.pth"
    with pytest.raises(UserError, match="no checkpoint at"):
        found.build()
    with pytest.raises(UserError, match="no version v9: choose one of v2, v3, v4"):
        candidates(["v9"], peers=False)[0].build()


def test_a_recording_that_vanishes_is_named(set_folder):
    items = folder_items(set_folder)
    (set_folder / "noisy/0000.wav").unlink()
    for jobs in (1, 2):
        with pytest.raises(UserError, match=r"0000.wav"):
            evaluate(items, [], jobs=jobs)


def test_a_clip_that_cannot_be_decoded_is_named(corpora, tmp_path):
    broken = tmp_path / "broken.wav"
    soundfile.write(broken, voice(0), RATE)
    (item,) = frozen_items(ROWS[-1:], *corpora, tmp_path)
    source = dataclasses.replace(item.source, path=broken, frames=10 * RATE)
    with pytest.raises(UserError, match=r"broken.wav: it ends early"):
        evaluate([Item(CLEAN, "1", "", None, source, 8 * RATE)], [], jobs=1)
