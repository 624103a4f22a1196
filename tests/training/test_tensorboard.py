"""What TensorBoard shows of a run is what the run found, each step once even where it resumed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.image import imread

from audio_denoising.errors import UserError
from audio_denoising.training.options import RunPlace
from audio_denoising.training.reporting import Reporter, Reporters, StepReport
from audio_denoising.training.tensorboard import (
    EPOCH_TAGS,
    RULE,
    STEP_TAGS,
    TensorBoardReporter,
    picture,
)
from audio_denoising.training.trainer import Trainer
from audio_denoising.training.validation import Clip
from tests.training.runs import NOISE, SPEECH, Recorder, options, quickly

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

IMAGE = "noisy, cleaned, clean/clip 1"


class PowerCut(Recorder):
    """Ends the process, as far as a test can, after the fourth step of the run."""

    def stepped(self, report: StepReport) -> None:
        if report.step == 4:
            raise MemoryError


def watch(out: Path, *others: Reporter, resume: bool = False, **changes: Any) -> bool:
    """A tiny run whose logs are in ``out/tensorboard``."""
    settings = options(**changes)
    place = RunPlace([SPEECH], [NOISE], out, "cpu", 0, resume)
    with quickly(narrow=True), TensorBoardReporter(out / "tensorboard", settings) as board:
        return Trainer(settings, place, Reporters(board, *others)).run()


def logged(out: Path) -> Any:
    """All that was logged, read as TensorBoard reads it."""
    everything = dict.fromkeys(("scalars", "images", "audio", "tensors"), 0)
    found = accumulator.EventAccumulator(str(out / "tensorboard"), size_guidance=everything)
    return found.Reload()


def scalars(found: Any) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every curve."""
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


class Run(NamedTuple):
    """A finished run of two epochs of two steps: what it told, what it left, what was logged."""

    reports: list[StepReport]
    rows: list[dict[str, Any]]
    found: Any


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One for all tests that only look at it."""
    out, recorder = tmp_path_factory.mktemp("watched") / "run", Recorder()
    assert watch(out, recorder)
    return Run(
        recorder.reports, json.loads((out / "history.json").read_text())["epochs"], logged(out)
    )


def test_curves_of_steps_are_what_the_run_told(run: Run) -> None:
    curves = scalars(run.found)
    assert len(run.reports) == 4
    for name, tag in STEP_TAGS.items():
        steps, values = zip(*curves[tag], strict=True)
        assert steps == (1, 2, 3, 4)
        expected = [float(getattr(report, name)) for report in run.reports]
        assert values == pytest.approx(expected, rel=1e-6)


def test_curves_of_epochs_are_the_history(run: Run) -> None:
    curves = scalars(run.found)
    assert curves.keys() == {*STEP_TAGS.values(), *EPOCH_TAGS.values()}
    for key, tag in EPOCH_TAGS.items():
        steps, values = zip(*curves[tag], strict=True)
        assert steps == (2, 4) == tuple(row["step"] for row in run.rows)
        assert values == pytest.approx([row[key] for row in run.rows], rel=1e-6)


def test_spectrograms_change_where_the_network_does(run: Run) -> None:
    images = run.found.Images(IMAGE)
    assert [image.step for image in images] == [2, 4]
    before, after = (imread(io.BytesIO(image.encoded_image_string)) for image in images)
    assert before.shape == after.shape == (256, 3 * 256 + 2 * RULE, 3)
    places = (slice(256), slice(256 + RULE, 512 + RULE), slice(512 + 2 * RULE, None))
    noisy, cleaned, clean = (after[:, place] for place in places)
    assert not np.array_equal(noisy, cleaned)
    assert not np.array_equal(cleaned, clean)
    changed = [not np.array_equal(before[:, place], after[:, place]) for place in places]
    assert changed == [False, True, False]


def test_high_frequencies_are_above_and_levels_are_the_noisy_ones() -> None:
    low = torch.zeros(256, 256)
    low[:64] = 0.5  # the lowest quarter of the frequencies
    silence = torch.zeros(256, 256)
    sound = torch.zeros(40_800)
    shown = picture(Clip(sound, sound, sound, 0.5 * low, low, silence)).astype(int).sum(2)
    noisy, cleaned, clean = shown[:, :256], shown[:, 260:516], shown[:, 520:]
    assert (noisy[:192] == noisy[0, 0]).all()
    assert (noisy[192:] > clean[192:]).all()
    assert (clean[192:] > cleaned[192:]).all()
    nothing = picture(Clip(sound, sound, sound, silence, silence, silence))
    assert (nothing[:, :256] == nothing[0, 0]).all()


def test_sounds_are_whole_and_originals_logged_once(run: Run) -> None:
    found = run.found
    sounds = {}
    for name, steps in (("1 noisy", [2]), ("2 cleaned", [2, 4]), ("3 clean", [2])):
        takes = found.Audio(f"clip 1/{name}")
        assert [take.step for take in takes] == steps
        assert {take.sample_rate for take in takes} == {16_000}
        sounds[name], rate = soundfile.read(io.BytesIO(takes[-1].encoded_audio_string))
        assert (sounds[name].shape, rate) == ((40_800,), 16_000)
    assert np.abs(sounds["1 noisy"] - sounds["2 cleaned"]).max() > 1e-3
    assert np.abs(sounds["1 noisy"] - sounds["3 clean"]).max() > 1e-3


def test_options_and_material_can_be_read(run: Run) -> None:
    found = run.found
    (shown,) = found.Tensors("run/options/text_summary")
    text = shown.tensor_proto.string_val[0].decode()
    for name, value in options().as_dict().items():
        assert f"| {name} | `{value}` |" in text
    (about,) = found.Tensors("run/about/text_summary")
    assert "device: cpu" in about.tensor_proto.string_val[0].decode()
    plugins = found.PluginTagToContent("hparams")
    start, end = (plugins[f"_hparams_/session_{name}_info"] for name in ("start", "end"))
    assert b"batch_size" in start
    assert end


@pytest.mark.parametrize("stopped", [Recorder(1), PowerCut()])
def test_a_resumed_run_goes_on_with_its_curves(stopped: Recorder, run: Run, tmp_path: Path) -> None:
    try:
        assert not watch(tmp_path, stopped)
    except MemoryError:
        # What came after the last checkpoint was logged, and will be logged again.
        assert len(scalars(logged(tmp_path))["loss/step"]) == 4
    assert watch(tmp_path, resume=True)
    found, whole = logged(tmp_path), run.found
    resumed, straight = scalars(found), scalars(whole)
    for curves in (resumed, straight):
        curves["step/samples_per_second"] = [(s, 0.0) for s, _ in curves["step/samples_per_second"]]
    assert resumed == straight
    for tag in whole.Tags()["images"]:
        assert [e.step for e in found.Images(tag)] == [e.step for e in whole.Images(tag)]
    for tag in whole.Tags()["audio"]:
        assert [e.step for e in found.Audio(tag)] == [e.step for e in whole.Audio(tag)]


def test_resuming_a_finished_run_adds_no_points(tmp_path: Path) -> None:
    assert watch(tmp_path, epochs=1)
    before = scalars(logged(tmp_path))
    assert watch(tmp_path, epochs=1, resume=True)
    assert scalars(logged(tmp_path)) == before


def test_a_run_watched_only_after_it_was_resumed_has_its_originals(tmp_path: Path) -> None:
    place = RunPlace([SPEECH], [NOISE], tmp_path, "cpu", 0)
    with quickly(narrow=True):
        assert Trainer(options(epochs=1), place, Reporters()).run()
    assert watch(tmp_path, resume=True)
    found = logged(tmp_path)
    assert [step for step, _ in scalars(found)["loss/step"]] == [3, 4]
    assert [take.step for take in found.Audio("clip 1/1 noisy")] == [4]


def test_without_the_package_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        TensorBoardReporter(tmp_path, options())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").touch()
    with pytest.raises(UserError, match="cannot write to .*tensorboard"):
        watch(tmp_path)


def test_nothing_is_written_before_the_run_starts(tmp_path: Path) -> None:
    with TensorBoardReporter(tmp_path / "logs", options()):
        pass
    assert list(tmp_path.iterdir()) == []
