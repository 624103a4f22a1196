"""A run's folder: of its last two checkpoints one can always be read, and its history is there."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from audio_denoising.errors import UserError, UserNotice
from audio_denoising.files import single_run
from audio_denoising.models import build
from audio_denoising.models.checkpoint import load_checkpoint
from audio_denoising.models.saving import describe
from audio_denoising.training.options import RunPlace
from audio_denoising.training.resume import newest
from audio_denoising.training.run import run
from audio_denoising.training.run_folder import RunFolder, curve
from tests.training.conftest import Trained
from tests.training.runs import (
    NOISE,
    SPEECH,
    Recorder,
    content,
    differences,
    options,
    quickly,
    rows,
    train,
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    """A folder with the checkpoints of steps 1 and 2 of a narrow network."""
    with quickly(narrow=True):
        found = RunFolder(tmp_path / "run")
        found.save(_at(1))
        found.save(_at(2))
        yield found


def _at(step: int) -> dict[str, Any]:
    state = build("v4", "small").state_dict()
    return {**describe("v4", "small"), "model": state, "position": {"step": step}}


def _damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _steps(folder: RunFolder) -> tuple[int, int]:
    return load_checkpoint(folder.previous).steps, load_checkpoint(folder.last).steps


def test_the_last_two_are_kept(folder: RunFolder) -> None:
    assert _steps(folder) == (1, 2)
    _damage(folder.previous)  # which does no harm
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest(folder).steps == 2
    (folder.path / ".last.k3_x9abc.part.pth").write_bytes(b"half")  # left by a killed write
    folder.save(_at(3))
    assert _steps(folder) == (2, 3)
    assert {path.name for path in folder.path.iterdir()} == {"last.pth", "previous.pth"}


@pytest.mark.parametrize("damage", [_damage, Path.unlink, lambda path: path.write_bytes(b"")])
def test_the_previous_one_stands_in_for_a_damaged_one(damage: Any, folder: RunFolder) -> None:
    damage(folder.last)
    sentence = "last.pth is damaged or missing: .* from .*previous.pth, step 1, .* again"
    with pytest.warns(UserNotice, match=sentence):
        assert newest(folder).steps == 1
    assert load_checkpoint(folder.previous).steps == 1
    folder.save(_at(5))
    assert _steps(folder) == (1, 5)  # what was damaged has not taken the place of what was not
    folder.save(_at(6))
    assert _steps(folder) == (5, 6)


def test_both_damaged(folder: RunFolder) -> None:
    for path in (folder.last, folder.previous):
        _damage(path)
    with pytest.raises(UserError, match="neither .*last.pth nor .*previous.pth can be read: train"):
        newest(folder)
    folder.keep(_at(1), 5, is_best=False)
    with pytest.raises(UserError, match="another --out .* --start-from .*epoch_005.pth"):
        newest(folder)
    folder.keep(_at(1), 6, is_best=True)
    with pytest.raises(UserError, match="another --out .* --start-from .*best.pth"):
        newest(folder)


def test_a_checkpoint_of_something_else_is_no_damage(folder: RunFolder) -> None:
    folder.save({**_at(3), "signal": {}})
    with pytest.raises(UserError, match="last.pth was trained with other signal settings"):
        newest(folder)


# In a run


def test_the_history_is_there_from_the_start(tmp_path: Path) -> None:
    assert not train(tmp_path, recorder=Recorder(1))
    assert rows(tmp_path) == []
    for _ in range(2):  # the second time the run is finished already
        (tmp_path / "history.json").unlink()
        assert train(tmp_path, resume=True)
        assert len(rows(tmp_path)) == 2
    assert json.loads((tmp_path / "history.json").read_text())["options"]["version"] == "v4"


@pytest.mark.parametrize("call", [2, 3, 4])
def test_a_kill_among_the_results_of_an_epoch_loses_none(
    call: int, straight: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They come in this order, after a first history.json: best.pth, history.json, last.pth.
    calls = 0

    def killing(function: Any) -> Any:
        def instead(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                raise MemoryError
            return function(*arguments)

        return instead

    with monkeypatch.context() as patch:
        for name in ("keep", "save", "save_history"):
            patch.setattr(RunFolder, name, killing(getattr(RunFolder, name)))
        with pytest.raises(MemoryError):
            train(tmp_path, save_seconds=1e6)
    assert train(tmp_path, resume=(tmp_path / "last.pth").exists())
    for name in ("last.pth", "best.pth"):
        assert differences(content(tmp_path / name), content(straight("v4") / name)) == []
    assert rows(tmp_path) == rows(straight("v4"))


def test_resuming_from_the_previous_one_ends_the_same(straight: Trained, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert not train(out, recorder=Recorder(3), save_seconds=1e-9)
    _damage(out / "last.pth")
    told = Recorder()
    with pytest.warns(UserNotice, match="previous.pth"):
        assert train(out, resume=True, recorder=told)
    assert 1 <= told.resumed_at <= 3
    for name in ("last.pth", "best.pth"):
        assert differences(content(out / name), content(straight("v4") / name)) == []


def test_two_runs_at_once_do_not_share_a_folder(tmp_path: Path) -> None:
    place = RunPlace([SPEECH], [NOISE], tmp_path, "cpu")
    with single_run(tmp_path), pytest.raises(UserError, match="Another run is at work in"):
        run(options(), place, Console(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_the_way_is_not_overwritten(straight: Trained, tmp_path: Path) -> None:
    shutil.copy(straight("v4") / "previous.pth", tmp_path)
    before = (tmp_path / "previous.pth").read_bytes()
    with pytest.raises(UserError, match="holds a run: .*--resume.*--out"):
        train(tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_curves_stand_on_whole_epochs_and_none_that_were_not(count: int) -> None:
    rows = [{"epoch": n + 1, "train_loss": 0.2, "validation_loss": 0.3} for n in range(count)]
    (axes,) = curve(rows, "loss", "L1", "mine").axes
    left, right = axes.get_xlim()
    seen = [tick for tick in axes.get_xticks() if left <= tick <= right]
    assert seen == [row["epoch"] for row in rows]
    assert right - left == count  # as wide around one as around each of many
