"""`denoise evaluate` prints its tables, says what it left out, and refuses with a sentence."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from audio_denoising.cli import app as cli
from audio_denoising.errors import UserError
from audio_denoising.evaluation import scores
from audio_denoising.evaluation.peers import PEERS


def run(*arguments):
    return CliRunner(env={"COLUMNS": "100"}).invoke(
        cli.commands(), ["evaluate", *map(str, arguments)], catch_exceptions=False
    )


@pytest.fixture
def few_metrics(monkeypatch):
    """No package for metrics is there but pystoi: the others take a second for a recording."""
    there = scores.find_spec
    monkeypatch.setattr(scores, "find_spec", lambda n: there(n) if n == "pystoi" else None)


def keep_alone(folder, number):
    """One recording is enough, and scoring takes a while."""
    manifest = folder / "manifest.csv"
    head, *lines = manifest.read_text().splitlines()
    manifest.write_text(f"{head}\n{lines[number]}\n")


def test_a_test_set_is_judged_and_kept(set_folder, tmp_path):
    path = tmp_path / "quality.json"
    answer = run("--testset", set_folder, "--model", "v2", "--jobs", 1, "--json", path)
    assert answer.exit_code == 0
    for text in ("set: 4 recordings", "noisy input", "by signal-to-noise ratio", "dog bark", "RTF"):
        assert text in answer.output
    assert len(json.loads(path.read_text())["items"]) == 4


def test_an_update_keeps_the_rows_of_others(set_folder, tmp_path, few_metrics):
    path = tmp_path / "quality.json"
    manifest = set_folder / "manifest.csv"
    whole = manifest.read_text()
    keep_alone(set_folder, 0)
    run("--testset", set_folder, "--model", "v2", "--jobs", 1, "--json", path)
    before = json.loads(path.read_text())
    again = ("--testset", set_folder, "--model", "v3", "--jobs", 1, "--json", path)
    assert "v2" in run(*again, "--update").output.split("set: 1")[1]
    after = json.loads(path.read_text())
    assert after["items"][0]["scores"].items() > before["items"][0]["scores"].items()
    assert after["weights"].keys() == {"v2", "v3"}
    assert [each["judged"] for each in after["runs"]] == [["v2"], ["noisy input", "v3"]]
    manifest.write_text(whole)
    keep_alone(set_folder, 1)
    with pytest.raises(UserError, match="other recordings than these"):
        run(*again, "--update")
    assert json.loads(path.read_text()) == after
    run(*again)
    assert json.loads(path.read_text())["weights"].keys() == {"v3"}


def test_peers_stand_in_the_same_table_and_missing_packages_are_told(
    set_folder, monkeypatch, few_metrics
):
    half = SimpleNamespace(package="numpy", clean=lambda noisy, rate: noisy / 2)
    for name in PEERS:
        monkeypatch.setitem(PEERS, name, half)
    keep_alone(set_folder, 0)
    answer = run("--testset", set_folder, "--model", "v2", "--peers", "--jobs", 1)
    assert "package pesq is not installed" in answer.output
    assert "pip install pesq" in " ".join(answer.output.split())
    table = answer.output.split("set: 1")[1]
    assert all(name in table for name in PEERS)
    assert "PESQ" not in table and "STOI" in table
