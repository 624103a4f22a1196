"""What ONNX Runtime makes of an exported network is what the package makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch

from audio_denoising import Denoiser
from audio_denoising.models import VERSIONS, build
from audio_denoising.models.checkpoint import build_model, load_checkpoint
from audio_denoising.models.header import Checkpoint
from audio_denoising.models.onnx_export import onnx_model, save_onnx
from audio_denoising.models.versions import shipped

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RATE, HOP = 16_000, 256
IMAGE_VERSIONS = [name for name in VERSIONS if name != "v5"]


def weights(version: str) -> Checkpoint:
    return load_checkpoint(shipped(version))


def untrained(version: str, size: str) -> Checkpoint:
    torch.manual_seed(1)
    return Checkpoint(Path("x.pth"), version, size, build(version, size).state_dict(), [], 0, {})


def session(model: Any) -> Any:
    """ONNX Runtime on one thread, for a graph that the checker of ONNX accepts as a whole."""
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def blank_states(opened: Any, signals: int) -> dict[str, np.ndarray[Any, Any]]:
    """Zeros for all that goes round, whose axes with a name are that of the signals."""
    shapes = {put.name: put.shape for put in opened.get_inputs()[1:]}
    return {
        name: np.zeros([signals if isinstance(n, str) else n for n in shape], np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def minute() -> np.ndarray[Any, Any]:
    """A voice in a street, over and over, with a pause and an end within a hop."""
    noisy, _ = soundfile.read(EXAMPLES / "noisy_street.wav", dtype="float32")
    sound = np.tile(noisy, 10)[: 60 * RATE + 77]
    sound[100_000:110_000] = 0
    return sound


@pytest.mark.parametrize("version", IMAGE_VERSIONS)
def test_images_are_answered_as_by_the_engine(version: str) -> None:
    checkpoint = weights(version)
    opened = session(onnx_model(checkpoint))
    noisy = torch.rand(2, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = build_model(checkpoint, "cpu")(noisy).numpy()
    for some in (noisy, noisy[:1]):
        (clean,) = opened.run(["clean"], {"noisy": some.numpy()})
        assert np.abs(clean - wanted[: len(some)]).max() < 1e-4
    assert np.abs(wanted - noisy.numpy()).max() > 0.1


@pytest.mark.parametrize("hops", [1, 100])
def test_a_minute_of_samples_with_its_states_carried(hops: int, minute: Any) -> None:
    opened = session(onnx_model(weights("v5"), samples=True))
    sound = minute if hops > 1 else minute[: 5 * RATE]
    padded = np.pad(sound, (0, HOP + -len(sound) % HOP))[None]
    carried, cleaned = blank_states(opened, 1), []
    for start in range(0, padded.shape[1], hops * HOP):
        block = padded[:, start : start + hops * HOP]
        block, *ends = opened.run(None, {"samples": block, **carried})
        carried = dict(zip(carried, ends, strict=True))
        cleaned.append(block)
    ours = np.concatenate(cleaned, 1)[0, HOP : HOP + len(sound)]
    assert np.abs(ours - Denoiser("v5", device="cpu")(sound, RATE)).max() < 1e-4


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_frames_of_two_signals_at_once_and_one_by_one(size: str) -> None:
    checkpoint = untrained("v5", size)
    opened = session(onnx_model(checkpoint))
    features = torch.randn(6, 2, 64, 12, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = build_model(checkpoint, "cpu")(features).numpy()
    features, blank = features.numpy(), blank_states(opened, 2)
    mask, last = opened.run(["mask", "next_state"], {"features": features, **blank})
    assert np.abs(mask - wanted).max() < 1e-5
    state = blank["state"]
    for frame, answer in zip(features, wanted, strict=True):
        mask, state = opened.run(None, {"features": frame[None], "state": state})
        assert np.abs(mask[0] - answer).max() < 1e-5
    assert np.abs(state - last).max() < 1e-5 < np.abs(state).max()


def test_a_file_says_what_it_is_for(tmp_path: Path) -> None:
    save_onnx(weights("v5"), tmp_path / "v5.onnx")
    about = session(onnx.load(tmp_path / "v5.onnx")).get_modelmeta().custom_metadata_map
    wanted = {"version": "v5", "sample_rate": "16000", "window": "512", "hop": "256"}
    assert wanted.items() <= about.items() and about["licence"] == "any use"
    about = session(onnx_model(weights("v4"))).get_modelmeta().custom_metadata_map
    assert about["hop"] == "160" and about["licence"].startswith("non-commercial use")


def test_only_standard_operators_and_float32_weights() -> None:
    for model in (onnx_model(weights("v5"), samples=True), onnx_model(untrained("v2", "small"))):
        assert {node.domain for node in model.graph.node} == {""}
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
        kinds = {onnx.TensorProto.DataType.Name(w.data_type) for w in model.graph.initializer}
        assert kinds <= {"FLOAT", "INT64"}


ALONE = """
import runpy, sys
sys.modules.update(dict.fromkeys(["audio_denoising", "torch", "onnx"]))  # not to be imported
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _example(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, EXAMPLES / "onnx_clean.py", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_the_example_needs_nothing_of_ours_and_gives_our_result(tmp_path: Path) -> None:
    save_onnx(weights("v5"), tmp_path / "v5.onnx")
    source = EXAMPLES / "noisy_street.wav"
    done = _example(tmp_path / "v5.onnx", source, tmp_path / "clean.wav")
    assert (done.returncode, done.stderr) == (0, "")
    clean, rate = soundfile.read(tmp_path / "clean.wav", dtype="float32")
    noisy, _ = soundfile.read(source, dtype="float32")
    assert rate == RATE and clean.shape == noisy.shape
    assert np.abs(clean - Denoiser("v5", device="cpu")(noisy, RATE)).max() < 1e-4
    soundfile.write(tmp_path / "fast.wav", noisy, 48_000)
    done = _example(tmp_path / "v5.onnx", tmp_path / "fast.wav", tmp_path / "no.wav")
    assert done.returncode == 1 and "fast.wav is not 16 kHz mono" in done.stderr
    assert not (tmp_path / "no.wav").exists()
