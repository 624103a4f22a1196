"""What TensorBoard shows of a run is what the run found, each step once even where it resumed."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from audio_denoising.errors import UserError
from audio_denoising.training import tensorboard
from audio_denoising.training.options import RunPlace
from audio_denoising.training.progress import Watcher
from audio_denoising.training.tensorboard import (
    EPOCH_TAGS,
    STEP_TAGS,
    TensorBoardLog,
)
from audio_denoising.training.trainer import Trainer
from tests.training.runs import NOISE, SPEECH, PowerCut, Recorder, options, quickly

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def watch(out: Path, *others: Watcher, resume: bool = False, **changes: Any) -> bool:
    """A tiny run whose logs are in ``out/tensorboard``."""
    place = RunPlace([SPEECH], [NOISE], out, "cpu", resume)
    with quickly(narrow=True) as patch:
        patch.setattr(tensorboard, "CLIPS", 1)
        watchers = [TensorBoardLog(out / "tensorboard"), *others]
        return Trainer(options(**changes), place, watchers).run()


def logged(out: Path) -> Any:
    """All that was logged, read as TensorBoard reads it."""
    everything = dict.fromkeys(("scalars", "images", "audio", "tensors"), 0)
    found = accumulator.EventAccumulator(str(out / "tensorboard"), size_guidance=everything)
    return found.Reload()


def scalars(found: Any) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every curve."""
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recorder, Any]:
    """What a finished run of two epochs of two steps told, and what was logged of it."""
    out, told = tmp_path_factory.mktemp("watched") / "run", Recorder()
    assert watch(out, told)
    return told, logged(out)


def test_curves_are_what_the_run_found(run: tuple[Recorder, Any]) -> None:
    told, curves = run[0], scalars(run[1])
    assert curves.keys() == {*STEP_TAGS.values(), *EPOCH_TAGS.values()}
    rows: Any
    for tags, rows, at in (
        (STEP_TAGS, told.figures, (1, 2, 3, 4)),
        (EPOCH_TAGS, told.rows, (2, 4)),
    ):
        for key, tag in tags.items():
            steps, values = zip(*curves[tag], strict=True)
            assert steps == at
            assert values == pytest.approx([float(row[key]) for row in rows], rel=1e-6)


def test_pictures_and_sounds_are_whole_and_change_where_the_network_does(
    run: tuple[Recorder, Any],
) -> None:
    _, found = run
    images = found.Images("noisy, cleaned, clean/clip 1")
    assert [image.step for image in images] == [2, 4]
    before, after = (imread(io.BytesIO(image.encoded_image_string)) for image in images)
    assert before.shape == after.shape == (256, 3 * 256, 3)
    parts = zip(np.split(before, 3, axis=1), np.split(after, 3, axis=1), strict=True)
    changed = [not np.array_equal(*pair) for pair in parts]
    assert changed == [False, True, False]
    heard = []
    for name in ("1 noisy", "2 cleaned", "3 clean"):
        takes = found.Audio(f"clip 1/{name}")
        assert [take.step for take in takes] == [2, 4]
        sound, rate = soundfile.read(io.BytesIO(takes[-1].encoded_audio_string))
        assert (sound.shape, rate) == ((40_800,), 16_000)
        heard.append(sound)
    assert all(np.abs(heard[0] - other).max() > 1e-3 for other in heard[1:])


def test_options_and_material_can_be_read(run: tuple[Recorder, Any]) -> None:
    _, found = run
    about, table = (
        found.Tensors(f"run/{name}/text_summary")[0].tensor_proto.string_val[0].decode()
        for name in ("about", "options")
    )
    assert "device: cpu" in about
    assert all(f"| {k} | `{v}` |" in table for k, v in options().as_dict().items())
    plugins = found.PluginTagToContent("hparams")
    start, end = (plugins[f"_hparams_/session_{name}_info"] for name in ("start", "end"))
    assert b"batch_size" in start
    assert end


def test_a_resumed_run_goes_on_with_its_curves(run: tuple[Recorder, Any], tmp_path: Path) -> None:
    with pytest.raises(MemoryError):
        watch(tmp_path, PowerCut())
    # What came after the last checkpoint was logged, and will be logged again.
    assert len(scalars(logged(tmp_path))["loss/step"]) == 4
    assert watch(tmp_path, resume=True)
    for _ in range(2):  # the second time the run is finished already: no points are added
        found, whole = logged(tmp_path), run[1]
        resumed, straight = scalars(found), scalars(whole)
        for curves in (resumed, straight):
            del curves["step/samples_per_second"]
        assert resumed == straight
        for tag in whole.Tags()["images"]:
            assert [e.step for e in found.Images(tag)] == [e.step for e in whole.Images(tag)]
        for tag in whole.Tags()["audio"]:
            assert [e.step for e in found.Audio(tag)] == [e.step for e in whole.Audio(tag)]
        assert watch(tmp_path, resume=True)


def test_what_is_missing_or_in_the_way_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorboard").touch()
    with pytest.raises(UserError, match="cannot write to .*tensorboard"):
        watch(tmp_path)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        TensorBoardLog(tmp_path)
