"""The data benchmark compares like with like, and its figures follow from its rounds."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import data
from benchmarks.data import WAYS, data_table, make_ways, ratio_table, take_sample

pytest.importorskip("webdataset")

CORPUS = Path(__file__).parent.parent / "data"
FOLDERS = CORPUS / "LibriSpeech", CORPUS / "noise"


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return take_sample(*FOLDERS, tmp_path_factory.mktemp("sample"), files=3)


def test_the_sample_has_the_formats_of_the_corpora(sample):
    assert {(each.path.suffix, each.rate) for each in sample.speech} == {(".flac", 16_000)}
    assert {(each.path.suffix, each.rate) for each in sample.noise} == {(".wav", 44_100)}
    assert len(sample.speech) == len(sample.noise) == 3


def test_every_way_gives_batches_of_images_and_the_cache_those_of_the_recordings(sample):
    ways = make_ways(sample, batch=2, epoch_size=4)
    assert tuple(ways) == WAYS
    found = {name: list(way(1, 0)) for name, way in ways.items()}
    for batches in found.values():
        assert [tuple(part.shape) for batch in batches for part in batch] == 4 * [(2, 256, 256)]
        for noisy, clean in batches:
            assert 0 < float(clean.mean()) < float(noisy.mean()) < 1
    for cold, cached in zip(found["cold"], found["cached"], strict=True):
        for one, other in zip(cold, cached, strict=True):
            torch.testing.assert_close(one, other, atol=0.02, rtol=0)


def test_the_ratios_follow_from_the_rounds(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "BATCH", 2)
    monkeypatch.setattr(data, "BATCHES", 1)
    monkeypatch.setattr(data, "STEP_BATCH", 2)
    path = tmp_path / "data.json"
    options = ["--workers", "0,1", "--rounds", "1", "--files", "2", "--json", str(path)]
    data.main(["--speech", str(FOLDERS[0]), "--noise", str(FOLDERS[1]), *options])
    results = json.loads(path.read_text())
    rates = {name: values[0] for name, values in results["items_per_second"].items()}
    assert set(rates) == {f"{name} {count}" for name in WAYS for count in (0, 1)} | {"step"}

    def best(name):
        return max(rates[f"{name} {count}"] for count in (0, 1))

    for name, expected in {
        "over_plain": best("cached") / best("plain"),
        "over_plain_cold": best("cold") / best("plain"),
        "over_step": best("cached") / rates["step"],
        "over_step_cold": best("cold") / rates["step"],
    }.items():
        assert results[name] == pytest.approx(expected, rel=1e-3)
        assert results["ratios"][name]["median"] == results[name]
    assert "over_plain" in capsys.readouterr().out


RESULTS = {
    "settings": {"workers": [0, 1]},
    "items_per_second": {
        "plain 0": [100.0, 110.0, 120.0],
        "plain 1": [90.0, 90.0, 90.0],
        **{f"{name} {count}": [500.0] for name in WAYS[1:] for count in (0, 1)},
        "step": [12.0, 12.0, 12.0],
    },
    "ratios": {
        "over_plain": {"of": "plain 0", "to": "cached 0", "median": 5.04, "quartiles": [4.9, 5.2]}
    },
}


def test_the_tables_hold_medians_and_quartiles():
    rows = data_table(RESULTS).splitlines()
    assert rows[0] == "| items per second (quartiles) | 0 workers | 1 worker |"
    assert rows[2].endswith("| 110 (105-115) | 90 (90-90) |")
    assert rows[-1].startswith("| what a v4-small training step consumes: 12 (12-12) |")
    assert ratio_table(RESULTS).splitlines()[2] == (
        "| over_plain | cached 0 / plain 0 | 5.0 | 4.9-5.2 |"
    )


def test_a_folder_that_is_not_there_ends_with_one_sentence(tmp_path):
    gone = str(tmp_path / "gone")
    with pytest.raises(SystemExit, match="gone"):
        data.main(["--speech", gone, "--noise", gone])
