"""What a cluster is given to clean, and where it goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from audio_denoising.cleaning import tasks as corpus
from audio_denoising.cleaning.tasks import Task, pending
from audio_denoising.errors import UserError


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Empty recordings below the current folder, and the same behind memory://."""
    storage = fsspec.filesystem("memory")
    storage.store.clear()
    storage.pseudo_dirs[:] = [""]
    for name in ("talks/a.wav", "talks/b.ape", "talks/deep/c.flac", "other/a.mp3", "other/a.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        storage.pipe(f"/{name}", b"")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    storage.store.clear()


def plan(*arguments: Any, **options: Any) -> list[Task]:
    """The tasks of a plan."""
    return corpus.plan(*arguments, **options)[0]


def lines(tasks: list[Task], folder: Path) -> list[str]:
    """The tasks as text, paths relative to the current folder."""
    return [f"{t.input} > {t.output}".replace(f"{folder.as_posix()}/", "") for t in tasks]


def test_paths_are_planned_as_without_a_cluster(tree: Path) -> None:
    assert lines(plan(["talks"]), tree) == [
        "talks/a.wav > talks/a_denoised.wav",
        "talks/b.ape > talks/b_denoised.wav",
    ]
    assert lines(plan([f"file://{tree}/talks/a.wav"], "file://new/"), tree) == [
        "talks/a.wav > new/a.wav"
    ]
    (task,) = plan(["talks/a.wav"], "x.flac", save_noise=True)
    assert [place.local for place in task.outputs] == [tree / "x.flac", tree / "x_noise.flac"]


def test_a_tree_is_mirrored(tree: Path) -> None:
    assert lines(plan(["memory://talks"], "memory://out/", recursive=True), tree) == [
        "memory://talks/a.wav > memory://out/a.wav",
        "memory://talks/b.ape > memory://out/b.wav",  # .ape can only be read
        "memory://talks/deep/c.flac > memory://out/deep/c.flac",
    ]
    assert lines(plan(["memory://talks"], "out"), tree) == [
        "memory://talks/a.wav > out/a.wav",
        "memory://talks/b.ape > out/b.wav",
    ]
    (task,) = plan(["talks/deep"], "memory://out", save_noise=True)
    assert task.input.local == tree / "talks/deep/c.flac"
    assert list(map(str, task.outputs)) == ["memory://out/c.flac", "memory://out/c_noise.flac"]


def test_results_and_repetitions_are_not_cleaned(tree: Path) -> None:
    fsspec.filesystem("memory").pipe("/talks/out/a.wav", b"")
    given = ["memory://talks", "memory://talks/a.wav"]
    assert len(plan(given, "memory://talks/out", recursive=True)) == 3
    fsspec.filesystem("memory").pipe("/talks/a_denoised.wav", b"")
    fsspec.filesystem("memory").pipe("/talks/deep/street_noise.wav", b"")
    tasks, told = corpus.plan(given, "memory://talks/out", recursive=True)
    assert [task.input.name for task in tasks] == ["a.wav", "b.ape", "c.flac", "street_noise.wav"]
    assert told == ("a_denoised.wav left out: made by an earlier run from the recordings beside",)


@pytest.mark.parametrize(
    ("inputs", "output", "sentence"),
    [
        (["memory://talks"], None, "memory://talks needs a folder for the results"),
        (["memory://talks"], "memory://out.wav", "looks like a file"),
        (["memory://talks/*.ogg"], "out", "no recording"),
        (["memory://other", "memory://talks"], "out", "other/a.wav and .* both lead to"),
        (["memory://talks"], "memory://talks", "nothing to clean"),
        (["memory://talks/deep/c.flac", "memory://c.flac"], "memory:/", "both lead to"),
    ],
)
def test_refusals(inputs: list[str], output: str | None, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        plan(inputs, output)


def test_what_is_there_is_left_out(tree: Path) -> None:
    tasks = plan(["memory://talks"], "memory://out", recursive=True, save_noise=True)
    fsspec.filesystem("memory").pipe(
        {"/out/a.wav": b"", "/out/a_noise.wav": b"", "/out/b.wav": b""}
    )
    assert pending(tasks, "memory://out") == tasks[1:]
    local = plan(["talks"], "out")
    (tree / "out").mkdir()
    (tree / "out" / "a.wav").touch()
    assert pending(local, "out") == local[1:]
