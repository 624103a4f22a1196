"""What users feel: same length, rate, channels and place; silence silent; nothing half-written.

The models here are small functions put in place of the network.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

from audio_denoising.cleaning import windows
from audio_denoising.cleaning.denoiser import Denoiser, denoise
from audio_denoising.cleaning.settings import Settings
from audio_denoising.errors import UserError
from audio_denoising.models import build
from audio_denoising.models.header import checksum
from audio_denoising.models.twin import build_twin
from audio_denoising.models.versions import locate, shipped
from tests.cli.command import python

RATES = [8000, 16_000, 44_100, 48_000]


def unchanged(image: Tensor) -> Tensor:
    return image


def all_noise(image: Tensor) -> Tensor:
    return torch.zeros_like(image)


def all_loud(image: Tensor) -> Tensor:
    return torch.ones_like(image)


def smoothing(image: Tensor) -> Tensor:
    """A model whose answer depends on the whole neighbourhood, as a network's does."""
    return torch.nn.functional.avg_pool2d(image, 9, stride=1, padding=4)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def snr_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    error = np.square(reference.astype(float) - estimate).sum()
    return float(10 * np.log10(np.square(reference.astype(float)).sum() / max(error, 1e-30)))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("shape", [(1,), (70_001,), (2, 50_000)])
def test_a_model_that_changes_nothing_gives_the_input_back(
    rate: int, shape: tuple[int, ...]
) -> None:
    x = noise(*shape)
    y = Denoiser(unchanged)(x, rate)
    assert y.shape == x.shape and y.dtype == x.dtype
    assert snr_db(x, y) > 100


SIGNALS = {
    "length": st.integers(0, 30_000),
    "channels": st.integers(1, 3),
    "rate": st.sampled_from([*RATES, 1000, 11_025, 12_345, 192_000]),
    "level": st.sampled_from([1.0, 1e-2, 1e-4]),
}


@settings(max_examples=10, deadline=None)
@given(**SIGNALS, strength=st.just(0) | st.floats(1, 100), limit=st.none() | st.floats(0, 60))
def test_any_strength_gives_as_many_finite_samples(
    length: int, channels: int, rate: int, level: float, strength: float, limit: float | None
) -> None:
    x = noise(channels, length, seed=length) * np.float32(level)
    denoiser = Denoiser(smoothing)
    kept = x.copy()
    y = denoiser(x, rate, strength=strength, limit=limit)
    assert y.shape == x.shape and y.dtype == x.dtype and np.isfinite(y).all()
    assert np.array_equal(x, kept)
    for nothing in ({"strength": 0.0}, {"limit": 0.0}):
        difference = denoiser(x, rate, **nothing) - x
        assert length == 0 or np.abs(difference).max() <= 10 ** (-90 / 20) * np.abs(x).max()
    assert not denoiser(np.zeros_like(x), rate, strength=strength, limit=limit).any()


def test_a_quiet_recording_is_treated_like_a_loud_one() -> None:
    x = noise(2, 44_100 * 4)
    denoiser = Denoiser(smoothing)
    loud, quiet = denoiser(x, 44_100), denoiser(x * np.float32(10 ** (-30 / 20)), 44_100)
    assert snr_db(loud, quiet * 10 ** (30 / 20)) > 90


@pytest.mark.parametrize("rate", RATES)
def test_what_the_model_calls_noise_goes_down_over_the_whole_band(rate: int) -> None:
    x = noise(3 * rate)
    y = Denoiser(all_noise)(x, rate)
    middle = slice(rate // 2, -rate // 2)
    before, after = (np.abs(np.fft.rfft(s[middle] * np.hanning(2 * rate))) ** 2 for s in (x, y))
    bands = zip(np.array_split(before, 8), np.array_split(after, 8), strict=True)
    assert max(10 * np.log10(b.sum() / a.sum()) for a, b in bands) < -30


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("model", [all_noise, all_loud])
def test_silence_stays_exactly_silent(model: object, rate: int) -> None:
    x = np.stack([noise(60_000), np.zeros(60_000, np.float32), noise(60_000, seed=1)])
    y = Denoiser(model)(x, rate)  # type: ignore[arg-type]
    assert not y[1].any()
    assert y[0].any() and y[2].any()
    assert not Denoiser(model)(np.zeros(1000), rate).any()  # type: ignore[arg-type]


def test_channels_keep_their_order_and_do_not_mix() -> None:
    x = noise(3, 50_000)
    denoiser = Denoiser(smoothing)
    together = denoiser(x, 44_100)
    for channel in range(3):
        assert np.allclose(together[channel], denoiser(x[channel], 44_100), atol=1e-6)


@pytest.mark.parametrize("rate", [16_000, 8000])
def test_chunks_leave_no_trace(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal of several chunks comes out as if it had been one.

    To the bit; at other rates than the model's, to the rounding of the resampler, which works in
    blocks of its own.
    """
    x = noise(1, rate * 70 + 123)
    denoiser = Denoiser(smoothing)
    cut = denoiser(x, rate)
    monkeypatch.setattr(windows, "CHUNK_SECONDS", 2 * windows.CHUNK_SECONDS)
    whole = denoiser(x, rate)
    assert np.array_equal(cut, whole) if rate == 16_000 else snr_db(whole, cut) > 120


def test_type_dtype_and_shape_are_kept() -> None:
    denoiser = Denoiser(unchanged)
    x = torch.from_numpy(noise(2, 3000)).double()
    y = denoiser(x, 16_000)
    assert isinstance(y, Tensor) and y.dtype == torch.float64 and y.shape == x.shape
    pcm = (noise(3000) * 32768).astype(np.int16)
    assert np.array_equal(denoiser(pcm, 48_000), pcm)


@pytest.mark.parametrize("rate", [0, -16_000, 16_000.5, 10**7, np.nan, "16000"])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(UserError, match="sample rate"):
        Denoiser(unchanged)(noise(10), rate)  # type: ignore[arg-type]


def test_a_model_that_returns_nan_is_refused() -> None:
    with pytest.raises(UserError, match="model broken"):
        Denoiser(lambda image: image * torch.nan, name="broken")(noise(10), 16_000)


def test_what_cannot_be_called() -> None:
    denoiser = Denoiser(unchanged)
    with pytest.raises(UserError, match=r"\(samples, channels\): transpose it"):
        denoiser(noise(16_000, 2), 16_000)
    with pytest.raises(UserError, match="give the sample rate"):
        denoiser(noise(10))  # type: ignore[call-overload]
    for option in ({"strength": "80"}, {"limit": "12"}, {"strength": True}, {"strength": None}):
        with pytest.raises(UserError, match="must be a number"):
            denoiser(noise(10), 16_000, **option)  # type: ignore[call-overload]
    for size in (0, "8", 2.5):
        with pytest.raises(UserError, match="batch_size is"):
            Denoiser(unchanged, batch_size=size)  # type: ignore[arg-type]
    for wrong in (lambda image: image[:, :, :3], lambda image: 3, torch.nn.Identity):
        with pytest.raises(UserError, match="does not return images"):
            Denoiser(wrong)(noise(10), 16_000)
    with pytest.raises(UserError, match="no device None here"):
        Denoiser(unchanged, device=None)  # type: ignore[arg-type]


def test_a_pickled_denoiser_does_the_same() -> None:
    x = noise(16_000)
    for denoiser in (Denoiser(smoothing, name="s"), Denoiser(build("v4", "small").eval())):
        copy = pickle.loads(pickle.dumps(denoiser))
        assert copy.name == denoiser.name
        assert np.array_equal(copy(x, 16_000), denoiser(x, 16_000))


def test_progress_reaches_the_end_and_never_goes_back(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(8000 * 60), 8000)
    calls: list[tuple[float, float]] = []
    Denoiser(unchanged).denoise_file(
        tmp_path / "a.wav", progress=lambda done, total: calls.append((done, total))
    )
    done = [d for d, _ in calls]
    assert done == sorted(done) and done[-1] == pytest.approx(60)
    assert [total for _, total in calls] == pytest.approx([60] * len(calls))


@pytest.mark.parametrize(
    ("given", "found"),
    [("v4", shipped("v4")), ("mine.pth", "mine.pth"), ("run/best", "run/best"), (Path("v4"), "v4")],
)
def test_a_version_is_told_from_a_file(
    given: str | Path, found: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if found != shipped("v4"):
        with pytest.raises(UserError, match=f"no checkpoint at {given}"):
            locate(given)
        Path(found).parent.mkdir(exist_ok=True)
        Path(found).touch()
    assert locate(given) == Path(found)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(UserError, match="no version v9: choose one of v2, v3, v4"):
        Denoiser("v9", device="cpu")
    with pytest.raises(UserError, match="a int is no model: give the name of a version"):
        Denoiser(4)  # type: ignore[arg-type]


def test_a_version_is_a_model() -> None:
    denoiser = Denoiser("v4", device="cpu")
    assert repr(denoiser) == "Denoiser(v4-small on cpu)"
    x = noise(16_000)
    assert np.array_equal(denoiser(x, 16_000), denoise(x, 16_000, "v4", device="cpu"))
    assert repr(Denoiser(device="cpu")) == "Denoiser(v5-base on cpu)"


@pytest.mark.parametrize("make", [build, build_twin])
def test_a_module_of_your_own_stays_as_it_is(make: Callable[..., Any]) -> None:
    own = make("v4", "small").train()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    x = noise(8000)
    denoiser = Denoiser(own, device="cpu")
    first = denoiser(x, 16_000)
    assert own.training and not denoiser._cleaner.model.training  # type: ignore[attr-defined]
    for name, value in own.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, before[name])
    own.load_state_dict({name: torch.zeros_like(value) for name, value in before.items()})
    assert np.array_equal(denoiser(x, 16_000), first)


def test_files_by_name_and_opened(tmp_path: Path) -> None:
    x = noise(2, 8000)
    path = tmp_path / "a.wav"
    soundfile.write(path, x.T, 8000, subtype="FLOAT")
    denoiser = Denoiser(unchanged)
    expected = denoiser(path)[0]
    with path.open("rb") as file:
        for given in (str(path), io.BytesIO(path.read_bytes()), file):
            samples, rate = denoiser(given)
            assert rate == 8000 and np.array_equal(samples, expected)
    assert denoiser(path, 8000)[1] == 8000
    with pytest.raises(UserError, match="the file has 8000 Hz, not 16000"):
        denoiser(path, 16_000)
    with pytest.raises(UserError, match="the file is not an audio file"):
        denoiser(io.BytesIO(b"dear diary\n" * 50))
    with pytest.raises(UserError, match="opened as text"):
        denoiser(io.StringIO("dear diary"))  # type: ignore[call-overload]
    with pytest.raises(UserError, match="names of files, not a BytesIO"):
        denoiser.denoise_file(io.BytesIO())  # type: ignore[arg-type]
    with pytest.raises(UserError, match="https://a.b/c.wav is an address"):
        denoiser("https://a.b/c.wav")
    with pytest.raises(UserError, match="https://a.b/c.wav is an address"):
        denoiser.denoise_file("https://a.b/c.wav")


@pytest.mark.parametrize("version", ["v4", "v5"])
def test_defaults_of_the_program_around_change_nothing(version: str) -> None:
    path = shipped(version)
    x = noise(20_000)
    expected = Denoiser(path, device="cpu")(x, 44_100)
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float64)
        found = Denoiser(path, device="cpu")(x, 44_100)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(found, expected)


FORKED = """
import multiprocessing, numpy, torch
from audio_denoising import Denoiser
torch.set_num_threads(2)
denoiser = Denoiser("v4", device="cpu")
x = 0.1 * numpy.random.default_rng(0).standard_normal(16_000).astype("float32")
expected = denoiser(x, 16_000)
def task(number):
    return numpy.abs(denoiser(x, 16_000) - expected).max() < 1e-5
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(task, range(2)).get(timeout=60) == [True, True]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_pool_cleans() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, env=environment, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fresh_process_cleans_without_the_compiler_of_torch() -> None:
    """It would take longer to load than the model."""
    program = """
import sys
import numpy
from audio_denoising import Denoiser
denoiser = Denoiser("v4", device="cpu")
print(denoiser.name, denoiser(numpy.sin(numpy.arange(8000, dtype="float32")), 16_000).shape)
print(sorted({"torch._dynamo", "torch.fx.experimental.symbolic_shapes"} & sys.modules.keys()))
"""
    assert python("-c", program).out.splitlines() == ["v4-small (8000,)", "[]"]


WITHOUT_TORCH = """
import pickle, sys
import numpy
from audio_denoising import Denoiser
from audio_denoising.cli.app import main
from audio_denoising.web.server import Server

denoiser = pickle.loads(pickle.dumps(Denoiser("v5")))
noisy = numpy.random.default_rng(0).normal(0, 0.1, 48_000).astype("float32")
cleaned = denoiser(noisy, 48_000)
with denoiser.stream(48_000) as opened:
    stream = pickle.loads(pickle.dumps(opened))
parts = [stream.push(noisy[:20_000])]
stream = pickle.loads(pickle.dumps(stream))
parts += [stream.push(noisy[20_000:]), stream.flush()]
print(numpy.array_equal(numpy.concatenate(parts), cleaned), denoiser)
Server(denoiser, "v5").server_close()
for line in ("a.wav", "a.wav b.wav --jobs 2 --force", "- -o c.wav"):
    sys.argv = ["denoise", "clean", *line.split(), "--model", "v5"]
    try:
        main()
    except SystemExit as end:
        assert not end.code
print("torch" in sys.modules)
"""


def test_v5_needs_no_torch(tmp_path: Path) -> None:
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", noise(8000), 8000)
    with (tmp_path / "a.wav").open("rb") as pipe:
        done = python("-c", WITHOUT_TORCH, cwd=tmp_path, stdin=pipe)
    told = done.out.splitlines()
    assert told and (told[0], told[-1]) == ("True Denoiser(v5-base on cpu)", "False"), done
    clean = Denoiser("v5")(tmp_path / "a.wav")[0]
    for name in ("a_denoised", "b_denoised", "c"):
        found = soundfile.read(tmp_path / f"{name}.wav")[0]
        assert np.abs(found - clean[0]).max() < 1e-4


def test_damaged_weights_of_v5_are_refused(tmp_path: Path) -> None:
    with safe_open(shipped("v5"), "np") as file:
        about = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    described = json.loads(about["description"])

    def refused(model: dict[str, Any], match: str, **changes: Any) -> None:
        about = {"description": json.dumps(described | changes), "checksum": checksum(model)}
        save_file(model, tmp_path / "odd.safetensors", about)
        with pytest.raises(UserError, match=f"odd.safetensors {match}"):
            Denoiser(tmp_path / "odd.safetensors")

    moments = next(name for name in weights if name.endswith("running_var"))
    others = {name: value for name, value in weights.items() if name != moments}
    for model in (others, others | {"other": weights[moments]}, others | {moments: np.ones(3)}):
        refused(model, "does not hold the weights of v5-base")
    refused(weights | {moments: np.ones(len(weights[moments]), int)}, "is not a checkpoint")
    refused(weights, "was trained with other signal settings", signal={})


# Strength and limit: the two formulas as documented, and their ends

RNG = np.random.default_rng(0)
NOISY, CLEAN = RNG.standard_normal((2, 2, 1000)).astype(np.float32)


@given(percent=st.just(0.0) | st.floats(1, 100), limit=st.none() | st.floats(0, 100))
def test_the_documented_formulas(percent: float, limit: float | None) -> None:
    s = percent / 100
    f = 0.0 if limit is None else 10 ** (-limit / 20)
    limited = f * NOISY + (1 - f) * CLEAN
    expected = s * limited + (1 - s) * NOISY
    assert np.allclose(Settings(percent, limit).mix(NOISY, CLEAN), expected, atol=1e-5)


def test_the_ends_are_exact() -> None:
    assert np.array_equal(Settings().mix(NOISY, CLEAN), CLEAN)
    assert np.array_equal(Settings(strength=0).mix(NOISY, CLEAN), NOISY)
    assert np.array_equal(Settings(limit=0).mix(NOISY, CLEAN), NOISY)


@pytest.mark.parametrize(
    ("strength", "limit", "told"),
    [
        *((strength, None, "from 0 to 100") for strength in (-1, 101, float("nan"))),
        (0.8, None, "did you mean 80?"),
        *((100, limit, "0 or above") for limit in (-1, float("nan"))),
    ],
)
def test_what_is_out_of_range(strength: float, limit: float | None, told: str) -> None:
    with pytest.raises(UserError, match=told):
        Settings(strength, limit)
