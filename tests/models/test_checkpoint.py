"""A checkpoint is written whole or not at all, and read without trust; its weights travel."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_denoising.dsp.signals import SIGNALS
from audio_denoising.errors import UserError
from audio_denoising.models import DECIBEL_IMAGE, build
from audio_denoising.models.checkpoint import (
    build_model,
    describe,
    export,
    load_checkpoint,
    save_checkpoint,
)
from audio_denoising.models.header import UnreadableCheckpoint
from tests.training.runs import differences, quickly


@pytest.fixture
def narrow() -> Any:
    with quickly(narrow=True) as patch:
        yield patch


def fields(**changes: Any) -> dict[str, Any]:
    """The content of a good checkpoint of a narrow v4 (under `narrow`), or of one with a fault."""
    state = build("v4", "small").state_dict()
    good = {**describe("v4", "small"), "model": state, "history": [], "position": {"step": 3}}
    return {**good, **changes}


# Writing


@pytest.mark.parametrize("failure", [KeyboardInterrupt, pickle.PicklingError])
def test_whatever_stops_a_write_the_old_file_stays(
    failure: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pth"
    save_checkpoint(path, {"a": 1})
    before = path.read_bytes()

    def fail(content: Any, file: BinaryIO) -> None:
        file.write(b"half of the new")
        raise failure

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(failure):
        save_checkpoint(path, {"a": 2})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "last.pth").mkdir()
    with pytest.raises(UserError, match="cannot write .*last.pth"):
        save_checkpoint(tmp_path / "last.pth", {})
    assert [p.name for p in tmp_path.iterdir()] == ["last.pth"]


# Reading


def test_what_is_written_is_read(narrow: object, tmp_path: Path) -> None:
    good = fields(history=[{"epoch": 1, "train_loss": 0.5}])
    save_checkpoint(tmp_path / "good.pth", good)
    before = torch.get_rng_state()
    found = load_checkpoint(str(tmp_path / "good.pth"))
    model: Any = build_model(found, "cpu")
    assert torch.equal(torch.get_rng_state(), before)  # nothing was drawn for it
    assert (found.version, found.size, found.steps) == ("v4", "small", 3)
    assert found.history == good["history"]
    assert differences(model.state_dict(), good["model"]) == []


class Payload:
    """Unpickling this makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("how", ["pickle", "zip", "zip, deep inside"])
def test_a_file_that_holds_code_is_refused_and_the_code_not_run(
    how: str, narrow: object, tmp_path: Path
) -> None:
    path, marker = tmp_path / "hostile.pth", tmp_path / "the code has run"
    payload = Payload(marker)
    if how == "pickle":
        path.write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload if how == "zip" else fields(history=[{"epoch": payload}]), path)
    with pytest.raises(UserError, match="hostile.pth is not a readable checkpoint.*never run"):
        load_checkpoint(path)
    assert not marker.exists()
    with contextlib.suppress(RuntimeError):  # the trap was a real one
        torch.load(path, weights_only=False)
    assert marker.exists()


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "text": lambda path: path.write_text("These are not weights.\n" * 100),
    "another zip": lambda path: zipfile.ZipFile(path, "w").close(),
    # It has no checksums, and this program has never written it.
    "old format": lambda p: torch.save(fields(), p, _use_new_zipfile_serialization=False),
    "tensor": lambda path: torch.save(torch.rand(10, 10), path),
    "bare weights": lambda path: torch.save(fields()["model"], path),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_files_that_are_no_checkpoint(kind: str, narrow: object, tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"
    save_checkpoint(path, fields())
    UNREADABLE[kind](path)
    told = {"missing": "no checkpoint at .*bad.pth"}
    told |= dict.fromkeys(("tensor", "bare weights"), "bad.pth is not a checkpoint of this program")
    with pytest.raises(UserError, match=told.get(kind, "bad.pth is not a readable checkpoint")):
        load_checkpoint(path)


MANY = torch.zeros(3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": 2}, "not a checkpoint of this program"),
        ({"format": MANY}, "not a checkpoint of this program"),
        (
            {"version": "v9"},
            "version 'v9', size 'small'.*it knows v2 .small, large., .*v5 .small, base, large.",
        ),
        ({"version": ["v4"]}, "not a checkpoint of this program"),
        ({"version": None}, "version None"),
        ({"size": "large"}, "version 'v4', size 'large'"),
        ({"size": {}}, "not a checkpoint of this program"),
        ({"widths": [1, 2, 3]}, "version 'v4', size 'small'"),
        ({"widths": [MANY] * 5}, "version 'v4', size 'small'"),
        ({"signal": {}}, "other signal settings"),
        ({"signal": {**SIGNALS[DECIBEL_IMAGE], "hop": 128}}, "other signal settings"),
        ({"signal": {**SIGNALS[DECIBEL_IMAGE], "hop": MANY}}, "other signal settings"),
        ({"version": "v2"}, "does not hold the weights of v2-small"),
        ({"model": None}, "does not hold the weights"),
        ({"model": {}}, "does not hold the weights"),
        ({"model": {"0.encode.0.weight": "text"}}, "not a checkpoint of this program"),
        ({"history": 5}, "not a checkpoint of this program"),
        ({"history": [5]}, "not a checkpoint of this program"),
        ({"position": []}, "not a checkpoint of this program"),
        ({"position": {"step": "many"}}, "not a checkpoint of this program"),
        ({"position": {"step": float("inf")}}, "not a checkpoint of this program"),
        ({"earlier": [{"epochs": [{}]}]}, "not a checkpoint of this program"),
        ({"version": {"v4": 1}}, "not a checkpoint of this program"),
        (int, "not a checkpoint"),  # weights that are no real numbers
        (complex, "not a checkpoint"),
    ],
)
def test_checkpoints_with_another_content(
    changes: Any, sentence: str, narrow: object, tmp_path: Path
) -> None:
    if isinstance(changes, type):
        dtype = torch.int64 if changes is int else torch.complex64
        changes = {"model": {name: t.to(dtype) for name, t in fields()["model"].items()}}
    save_checkpoint(tmp_path / "odd.pth", fields(**changes))
    with pytest.raises(UserError, match=f"odd.pth.*{sentence}"):
        load_checkpoint(tmp_path / "odd.pth")


@pytest.mark.parametrize("options", [None, {"start_from": MANY}, {"hold_out": 0.5}, {"seed": MANY}])
def test_odd_options_stop_an_export_with_a_sentence(
    options: Any, narrow: object, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "odd.pth", fields(options=options))
    with pytest.raises(UserError, match="odd.pth is not a checkpoint of this program"):
        export(load_checkpoint(tmp_path / "odd.pth"), tmp_path / "exported.safetensors")
    assert not (tmp_path / "exported.safetensors").exists()


def test_a_checkpoint_of_v5_gives_its_network_ready_to_clean(tmp_path: Path) -> None:
    network = build("v5", "small")
    x = torch.randn(20, 3, 64, 12, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        network(x)  # moments of its own
        expected = network.eval()(x)
    state = {**describe("v5", "small"), "model": network.state_dict(), "licence": "any use"}
    state |= {"optimiser": {}, "rng": {}}
    save_checkpoint(tmp_path / "v5.pth", state)
    whole = load_checkpoint(tmp_path / "v5.pth")
    for name in ("half.pth", "half.safetensors"):
        export(whole, tmp_path / name)
        assert (tmp_path / name).stat().st_size < 1e6
    torch_s, half = (load_checkpoint(tmp_path / f"half.{form}") for form in ("pth", "safetensors"))
    assert differences(torch_s.content, half.content) == []
    assert half.content["licence"] == "any use"
    assert not {"optimiser", "rng"} & half.content.keys()
    halved = {name for name, value in half.model_state.items() if value.dtype == torch.float16}
    assert halved == {name for name, _ in network.named_parameters()}
    with torch.inference_mode():
        assert torch.equal(build_model(whole, "cpu")(x), expected)
        assert (build_model(half, "cpu")(x) - expected).abs().max() < 5e-3


@pytest.mark.parametrize("change", ["missing", "shape", "name"])
def test_moments_belong_to_the_weights(change: str, tmp_path: Path) -> None:
    state = build("v5", "small").state_dict()
    name = next(name for name in state if name.endswith("running_var"))
    moments = state.pop(name)
    state |= {"missing": {}, "shape": {name: moments[1:]}, "name": {"other": moments}}[change]
    save_checkpoint(tmp_path / "odd.pth", {**describe("v5", "small"), "model": state})
    with pytest.raises(UserError, match="odd.pth does not hold the weights of v5-small"):
        load_checkpoint(tmp_path / "odd.pth")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), length=st.integers(1, 200), how=st.sampled_from(["cut", "flip", 0]))
def test_damage_is_noticed_or_does_no_harm(
    narrow: object, tmp_path: Path, ending: str, place: float, length: int, how: str | int
) -> None:
    path = tmp_path / f"good{ending}"
    if not path.exists():
        save_checkpoint(tmp_path / "whole.pth", fields())
        export(load_checkpoint(tmp_path / "whole.pth"), path)
    data = bytearray(path.read_bytes())
    start = min(int(place * len(data)), len(data) - 1)
    if how == "flip":
        data[start] ^= 1 << length % 8
    else:
        data[start : start + length] = b"" if how == "cut" else bytes(len(data[start:][:length]))
    bad = path.with_name(f"bad{ending}")
    bad.write_bytes(data)
    try:
        found = load_checkpoint(bad)
    except UserError as error:
        assert bad.name in str(error)
    else:  # padding between two weights, or a letter of the history
        assert differences(found.model_state, load_checkpoint(path).model_state) == []


def test_a_file_that_unpacks_to_more_than_it_is_is_refused(narrow: object, tmp_path: Path) -> None:
    path = tmp_path / "good.pth"
    save_checkpoint(path, fields())
    with (
        zipfile.ZipFile(path) as whole,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for record in whole.infolist():
            bomb.writestr(record.filename, whole.read(record))
        bomb.writestr("good/data/99", bytes(1 << 20))
    with pytest.raises(UnreadableCheckpoint, match="bomb.pth is not a readable checkpoint"):
        load_checkpoint(tmp_path / "bomb.pth")
