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

from audio_denoising.dsp.representation import SIGNALS
from audio_denoising.errors import UserError
from audio_denoising.models import DECIBEL_IMAGE, VERSIONS, build
from audio_denoising.models.checkpoint import (
    UnreadableCheckpoint,
    build_model,
    describe,
    export,
    load_checkpoint,
    save_checkpoint,
)
from audio_denoising.models.twin import build_twin
from audio_denoising.models.versions import has_weights, shipped
from tests.training.runs import differences, quickly, train


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """Two images of a size that every version takes."""
    return torch.rand(2, 1, 64, 32, generator=torch.Generator().manual_seed(0))


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


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    path = tmp_path / "last.pth"
    save_checkpoint(path, {"a": 1})
    before = path.read_bytes()
    small = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode: small(Path("/dev/full") if mode == "wb" else path, mode)
    )
    with pytest.raises(UserError, match="cannot write .*last.pth: .*No space left on device.*free"):
        save_checkpoint(path, {"weights": torch.zeros(1000)})
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
    found = load_checkpoint(str(tmp_path / "good.pth"))
    assert (found.version, found.size, found.steps) == ("v4", "small", 3)
    assert found.history == good["history"]
    assert differences(found.model_state, good["model"]) == []


class Payload:
    """An object whose unpickling calls a function of the attacker's choice."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("how", ["pickle", "zip", "zip, deep inside", "old torch format"])
@pytest.mark.parametrize("what", ["os.system", "eval", "Path.touch"])
def test_a_file_that_holds_code_is_refused_and_the_code_not_run(
    what: str, how: str, narrow: object, tmp_path: Path
) -> None:
    marker = tmp_path / "the code has run"
    payload = {
        "os.system": Payload(os.system, f"touch '{marker}'"),
        "eval": Payload(eval, f"open({str(marker)!r}, 'w')"),
        "Path.touch": Payload(Path.touch, marker),
    }[what]
    path = tmp_path / "hostile.pth"
    if how == "pickle":
        path.write_bytes(pickle.dumps(payload))
    elif how == "zip, deep inside":
        torch.save(fields(history=[{"epoch": payload}]), path)
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(UserError, match="hostile.pth is not a readable checkpoint.*never run"):
        load_checkpoint(path)
    assert not marker.exists()
    with contextlib.suppress(RuntimeError):  # the trap was a real one
        torch.load(path, weights_only=False)
    assert marker.exists()


def _damaged(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "bad.pth"
    save_checkpoint(path, fields())
    whole = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "text":
        path.write_text("These are not weights.\n" * 100)
    elif kind == "another zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")
    elif kind == "noise":
        path.write_bytes(torch.randint(0, 256, (5000,), dtype=torch.uint8).numpy().tobytes())
    elif kind == "tensor":
        torch.save(torch.rand(10, 10), path)
    elif kind == "bare weights":
        torch.save(fields()["model"], path)
    return path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing", "no checkpoint at"),
        ("folder", "no checkpoint at"),
        ("empty", "not a readable checkpoint"),
        ("truncated", "not a readable checkpoint"),
        ("text", "not a readable checkpoint"),
        ("another zip", "not a readable checkpoint"),
        ("noise", "not a readable checkpoint"),
        ("tensor", "not a checkpoint of this program"),
        ("bare weights", "not a checkpoint of this program"),
    ],
)
def test_files_that_are_no_checkpoint(
    kind: str, sentence: str, narrow: object, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        load_checkpoint(_damaged(tmp_path, kind))
    assert "bad.pth" in str(caught.value)
    assert "\n" not in str(caught.value)


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
        ({"widths": [MANY] * 5}, "not a checkpoint of this program"),
        ({"signal": {}}, "other signal settings"),
        ({"signal": {**SIGNALS[DECIBEL_IMAGE], "hop": 128}}, "other signal settings"),
        ({"signal": {**SIGNALS[DECIBEL_IMAGE], "hop": MANY}}, "not a checkpoint of this program"),
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
    ],
)
def test_checkpoints_with_another_content(
    changes: dict[str, Any], sentence: str, narrow: object, tmp_path: Path
) -> None:
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


def test_weights_that_are_no_real_numbers_are_refused(narrow: object, tmp_path: Path) -> None:
    for dtype in (torch.int64, torch.complex64):
        model = {name: value.to(dtype) for name, value in fields()["model"].items()}
        save_checkpoint(tmp_path / "odd.pth", fields(model=model))
        with pytest.raises(UserError, match="odd.pth is not a checkpoint"):
            load_checkpoint(tmp_path / "odd.pth")


def test_a_checkpoint_of_v5_gives_its_network_ready_to_clean(tmp_path: Path) -> None:
    network = build("v5", "small")
    x = torch.randn(20, 3, 64, 12, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        network(x)  # moments of its own
        expected = network.eval()(x)
    state = {**describe("v5", "small"), "model": network.state_dict(), "licence": "any use"}
    save_checkpoint(tmp_path / "v5.pth", state)
    whole = load_checkpoint(tmp_path / "v5.pth")
    for name in ("half.pth", "half.safetensors"):
        export(whole, tmp_path / name)
        assert (tmp_path / name).stat().st_size < 1e6
    torch_s, half = (load_checkpoint(tmp_path / f"half.{form}") for form in ("pth", "safetensors"))
    assert differences(torch_s.content, half.content) == []
    assert half.content["licence"] == "any use"
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


def test_a_file_in_torch_s_old_format_is_refused(narrow: object, tmp_path: Path) -> None:
    """It has no checksums, and this program has never written it."""
    torch.save(fields(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match="old.pth is not a readable checkpoint"):
        load_checkpoint(tmp_path / "old.pth")


@pytest.mark.parametrize("version", VERSIONS)
def test_shipped_checkpoints_are_whole(version: str) -> None:
    if not has_weights(version):
        pytest.skip(f"no weights of {version} come with this tree")
    assert load_checkpoint(shipped(version)).version == version


@pytest.mark.parametrize("version", VERSIONS)
def test_loading_draws_no_random_numbers(version: str, tmp_path: Path) -> None:
    with quickly(narrow=True):
        size = "small"
        content = {**describe(version, size), "model": build(version, size).state_dict()}
        save_checkpoint(tmp_path / "a.pth", {**content, "history": []})
        before = torch.get_rng_state()
        build_model(load_checkpoint(tmp_path / "a.pth"), "cpu")
        assert torch.equal(torch.get_rng_state(), before)


# Weights travel


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a short run of a version, trained once."""
    folders: dict[str, Path] = {}

    def trained(version: str) -> Path:
        if version not in folders:
            folders[version] = tmp_path_factory.mktemp(version)
            train(folders[version], version)
        return folders[version]

    return trained


def test_an_export_is_small_and_gives_the_same_answer(
    run: Callable[[str], Path], narrow: object, image: torch.Tensor, tmp_path: Path
) -> None:
    v4, path = load_checkpoint(run("v4") / "best.pth"), tmp_path / "half.safetensors"
    export(v4, path)
    half = load_checkpoint(path)
    assert {value.dtype for value in half.model_state.values()} == {torch.float16}
    assert path.stat().st_size < 0.25 * v4.path.stat().st_size
    assert "optimiser" not in half.content and "rng" not in half.content
    assert (half.steps, half.history) == (v4.steps, v4.history)
    with torch.inference_mode():
        a, b = (build_model(checkpoint, "cpu")(image) for checkpoint in (v4, half))
    assert b.dtype == torch.float32
    assert (a - b).abs().max() < 1e-2


def test_weights_run_in_the_engine_and_in_its_twin(
    run: Callable[[str], Path], narrow: object, image: torch.Tensor
) -> None:
    ours, theirs = (load_checkpoint(run(name) / "last.pth") for name in ("v4", "torch"))
    with torch.inference_mode():
        twin, engine = build_twin("v4", "small").eval(), build("v4", "small").eval()
        twin.load_state_dict(ours.model_state)
        engine.load_state_dict(theirs.model_state)
        answers = ((ours, twin(image)), (theirs, engine(image)))
        for checkpoint, answer in answers:
            assert torch.allclose(build_model(checkpoint, "cpu")(image), answer, rtol=0, atol=1e-5)


@pytest.mark.parametrize("version", ["v2", "v4"])
def test_a_loaded_model_has_the_weights_of_the_run(
    version: str, run: Callable[[str], Path], narrow: object, image: torch.Tensor
) -> None:
    with torch.inference_mode():
        path = run(version) / "best.pth"
        model = build_model(load_checkpoint(path), "cpu")
        weights = torch.load(path, weights_only=True)["model"]
        assert differences(model.state_dict(), weights) == []  # type: ignore[attr-defined]
        answer = model(image)
    assert answer.shape == image.shape
    assert (answer >= 0).all() and (answer <= 1).all()
