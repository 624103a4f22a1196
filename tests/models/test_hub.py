"""Weights in a folder as model hubs have it: what lies in it, and a denoiser from it."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import yaml

from audio_denoising import Denoiser
from audio_denoising.errors import UserError
from audio_denoising.models import hub
from audio_denoising.models.checkpoint import load_checkpoint
from audio_denoising.models.hub import save_folder
from audio_denoising.models.versions import shipped


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """v5 as `denoise export v5 FOLDER` writes it."""
    place = tmp_path_factory.mktemp("hub") / "v5"
    written = save_folder(load_checkpoint(shipped("v5")), place)
    assert sorted(place.iterdir()) == sorted(written)
    return place


def test_a_folder_gives_the_result_of_the_version(folder: Path) -> None:
    noisy = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    wanted = Denoiser("v5", device="cpu")(noisy, 16_000)
    for name in (folder, str(folder)):
        denoiser = Denoiser.from_pretrained(name, device="cpu")
        assert denoiser.name == "v5-base"
        assert np.abs(denoiser(noisy, 16_000) - wanted).max() < 1e-6


def test_the_config_says_the_most_important_and_the_graphs_lie_beside(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert (config["version"], config["size"], config["licence"]) == ("v5", "base", "any use")
    assert config["signal"]["sample_rate"] == 16_000 and config["signal"]["hop"] == 256
    assert onnx.load(folder / hub.ONNX).graph.input[0].name == "features"
    assert onnx.load(folder / hub.ONNX_SAMPLES).graph.input[0].name == "samples"


def head(folder: Path) -> dict[str, object]:
    """The YAML that a card begins with."""
    _, text, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def test_the_card_has_a_head_and_the_figures_of_its_version(folder: Path) -> None:
    assert head(folder)["license"] == "cc0-1.0"
    assert head(folder)["library_name"] == "audio-denoising"
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "{" not in text and "16000 Hz" in text and "from_pretrained" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip(" *") for row in rows] == ["model", "---", "noisy input", "v5"]
    card = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    assert all(row in card for row in rows)


def test_the_card_of_weights_with_a_condition(folder: Path, tmp_path: Path) -> None:
    save_folder(load_checkpoint(shipped("v4")), tmp_path / "v4")
    assert head(tmp_path / "v4")["license"] == "other"
    assert head(tmp_path / "v4")["license_name"] == "non-commercial"
    exported = load_checkpoint(tmp_path / "v4" / "model.safetensors")
    assert exported.licence.startswith("non-commercial use (trained on UrbanSound8K")
    save_folder(exported, tmp_path / "again")  # weights that anyone may have changed: no figures
    text = (tmp_path / "again" / "README.md").read_text(encoding="utf-8")
    assert "non-commercial use" in text and "| noisy input" not in text
    assert "Validation: SI-SDR 13.80 dB" in text


def test_a_full_disk_leaves_what_was_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v5").mkdir()
    (tmp_path / "v5" / "model.safetensors").write_bytes(b"before")

    def full(path: Path, *arguments: object, **options: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match=r"cannot write .*v5: .*No space left.*free some space"):
        save_folder(load_checkpoint(shipped("v5")), tmp_path / "v5")
    assert [path.name for path in tmp_path.iterdir()] == ["v5"]
    assert [path.read_bytes() for path in (tmp_path / "v5").iterdir()] == [b"before"]


def _hub(monkeypatch: pytest.MonkeyPatch, answer: Path | Exception) -> list[object]:
    """Puts a hub in the place of the real one, and returns what it is asked."""
    asked: list[object] = []

    def snapshot_download(repo_id: str, *, allow_patterns: list[str]) -> str:
        asked.append((repo_id, *allow_patterns))
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    module = ModuleType("huggingface_hub")
    monkeypatch.setattr(module, "snapshot_download", snapshot_download, raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return asked


def test_a_name_is_asked_of_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _hub(monkeypatch, folder)
    assert Denoiser.from_pretrained("some-one/v5.0", device="cpu").name == "v5-base"
    assert asked == [("some-one/v5.0", "model.safetensors", "config.json")]


def test_what_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _hub(monkeypatch, OSError("404 Client Error.\nRepository Not Found for url"))
    with pytest.raises(UserError) as told:
        Denoiser.from_pretrained("some-one/v5")
    assert "some-one/v5 is no folder here" in str(told.value) and "\n" not in str(told.value)
    _hub(monkeypatch, tmp_path)  # a model of another library
    with pytest.raises(UserError, match="some-one/v5 holds no model.safetensors"):
        Denoiser.from_pretrained("some-one/v5")


def test_without_the_package_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="some-one/v5.*pip install huggingface_hub"):
        Denoiser.from_pretrained("some-one/v5")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("empty", "holds no model.safetensors"),
        ("nowhere", "there is no folder nowhere: .*user/name"),
        ("a/b/c", "there is no folder a/b/c"),
        ("https://hub.example/me/v5", "is an address"),
    ],
)
def test_names_that_are_refused(
    name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    _hub(monkeypatch, AssertionError("asked the hub"))
    with pytest.raises(UserError, match=sentence):
        Denoiser.from_pretrained(name)
