"""`denoise export`: the ending of a name decides what is written, whole or not at all."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import onnx
import pytest
import torch

from audio_denoising import Denoiser
from audio_denoising.models.checkpoint import load_checkpoint
from tests.cli.command import content, denoise, listing

FOLDER = {"README.md", "config.json", "model.safetensors"}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an untrained v4-small."""
    path = tmp_path_factory.mktemp("full") / "full.pth"
    torch.save(content(), path)
    return path


def test_a_file_of_weights(full: Path, tmp_path: Path) -> None:
    output = tmp_path / "half.pth"
    result = denoise("export", full, output)
    assert (result.code, result.err) == (0, "")
    assert "half.pth 5.5 MB" in result.out
    assert load_checkpoint(output).steps == 7
    before = output.read_bytes()
    refusal = denoise("export", full, output)
    assert refusal.code == 2 and re.search("half.pth exists.*--force", refusal.sentence)
    assert output.read_bytes() == before
    assert denoise("export", full, output, "--force").code == 0


def test_a_licence_is_given_unless_the_recordings_forbid_it(full: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.safetensors"
    assert denoise("export", full, output, "--licence", "any use").code == 0
    assert load_checkpoint(output).licence == "any use"
    assert denoise("export", full, f"{tmp_path}/hub", "--licence", "any use").code == 0
    assert "license: cc0-1.0" in (tmp_path / "hub" / "README.md").read_text()
    refusal = denoise("export", "v4", tmp_path / "v4.pth", "--licence", "any use")
    assert refusal.code == 2 and "no other licence than that: non-comm" in refusal.sentence
    assert listing(tmp_path).keys() == {"mine.safetensors", "hub"}


def test_an_onnx_file(full: Path, tmp_path: Path) -> None:
    result = denoise("export", full, tmp_path / "v4.onnx")
    assert (result.code, result.err) == (0, "") and "v4.onnx 10.9 MB" in result.out
    graph = onnx.load(tmp_path / "v4.onnx").graph
    assert [put.name for put in (*graph.input, *graph.output)] == ["noisy", "clean"]
    before = (tmp_path / "v4.onnx").read_bytes()
    refusal = denoise("export", "v5", tmp_path / "v4.onnx")
    assert refusal.code == 2 and re.search("v4.onnx exists.*--force", refusal.sentence)
    assert (tmp_path / "v4.onnx").read_bytes() == before
    assert denoise("export", "v5", tmp_path / "v4.onnx", "--samples", "--force").code == 0
    graph = onnx.load(tmp_path / "v4.onnx").graph
    assert graph.input[0].name == "samples" and graph.output[0].name == "cleaned"


@pytest.mark.parametrize("name", ["hub", "v4.2/", "there.already"])
def test_a_folder(name: str, full: Path, tmp_path: Path) -> None:
    (tmp_path / "there.already").mkdir()
    result = denoise("export", full, f"{tmp_path}/{name}")
    assert (result.code, result.err) == (0, "")
    assert listing(tmp_path / name).keys() >= FOLDER and "model.safetensors" in result.out
    refusal = denoise("export", full, f"{tmp_path}/{name}")
    assert refusal.code == 2 and re.search("is not empty.*--force", refusal.sentence)
    assert denoise("export", full, f"{tmp_path}/{name}", "--force").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {name.strip("/"), "there.already"}


def test_a_folder_with_something_else_in_it_is_never_replaced(full: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = denoise("export", full, tmp_path, "--force")
    assert result.code == 2 and "holds other files (thesis.txt)" in result.sentence
    assert listing(tmp_path) == {"thesis.txt": 13}


def test_without_the_package_onnx(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = denoise("export", full, tmp_path / "v4.onnx")
    assert result.code == 2 and "v4.onnx needs the package onnx" in result.sentence
    assert "pip install onnx" in result.sentence
    assert denoise("export", full, tmp_path / "folder").code == 0
    assert listing(tmp_path).keys() == {"folder"} and listing(tmp_path / "folder").keys() == FOLDER


@pytest.mark.parametrize(
    ("output", "options", "sentence"),
    [
        ("v4.pth", ("--samples",), "--samples goes with an .onnx file"),
        ("file.txt/", (), "file.txt cannot become a folder"),
        ("file.txt/v4.onnx", (), "file.txt is a file"),
        ("file.txt/folder", (), "file.txt is a file"),
        ("s3://bucket/folder", (), "is an address"),
    ],
)
def test_refusals(
    output: str,
    options: tuple[str, ...],
    sentence: str,
    full: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("taken")
    result = denoise("export", full, output, *options)
    assert result.code == 2 and re.search(sentence, result.sentence)
    assert listing(tmp_path) == {"file.txt": 5}


def test_an_exported_folder_cleans(full: Path, tmp_path: Path) -> None:
    denoise("export", full, tmp_path / "hub")
    assert load_checkpoint(tmp_path / "hub" / "model.safetensors").version == "v4"
    assert Denoiser(tmp_path / "hub", device="cpu").name == "v4-small"
