"""Arrays and tensors in every dtype come back as they were; what is not a waveform is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audio_denoising.errors import UserError
from audio_denoising.media.arrays import from_samples, to_samples

WAVE = np.linspace(-1, 0.999, 50)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int16", "int32"])
@pytest.mark.parametrize("shape", [(50,), (2, 25), (1, 50), (0,), (2, 0)])
def test_numpy_round_trip(dtype: str, shape: tuple[int, ...]) -> None:
    scale = -np.iinfo(dtype).min if dtype.startswith("int") else 1
    x = (WAVE[: int(np.prod(shape))] * scale).reshape(shape).astype(dtype)
    samples = to_samples(x)
    assert samples.dtype == np.float32 and samples.ndim == 2
    assert np.abs(samples).max(initial=0) <= 1
    back = from_samples(samples, x)
    assert back.dtype == x.dtype and back.shape == x.shape
    tolerance = 128 if dtype == "int32" else 0 if dtype == "int16" else 1e-7
    assert np.allclose(back, x, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int16, torch.int32]
)
def test_tensor_round_trip(dtype: torch.dtype) -> None:
    scale = 1 if dtype.is_floating_point else -torch.iinfo(dtype).min
    x = (torch.from_numpy(WAVE) * scale).reshape(2, 25).to(dtype)
    back = from_samples(to_samples(x), x)
    assert back.dtype == dtype and back.shape == x.shape
    assert torch.allclose(back.double(), x.double(), rtol=0, atol=128 if scale > 2**16 else 1e-7)


def test_tensor_with_a_gradient_and_reversed_array() -> None:
    assert to_samples(torch.ones(4, requires_grad=True)).tolist() == [[1, 1, 1, 1]]
    assert to_samples(np.arange(3)[::-1] / 4).tolist() == [[0.5, 0.25, 0]]


def test_integers_clip_and_never_wrap() -> None:
    loud = np.array([[1.5, -1.5, 1.0]], np.float32)
    assert from_samples(loud, np.zeros(3, np.int16)).tolist() == [32767, -32768, 32767]
    assert from_samples(loud, np.zeros(3, np.int32)).tolist() == [2**31 - 1, -(2**31), 2**31 - 1]


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2000, 2)), "transpose"),
        (torch.zeros(65, 1), "transpose"),
        (np.zeros((1, 2, 3)), "shape"),
        (np.array(1.0), "shape"),
        (np.array([0.0, np.nan]), "NaN"),
        (np.array([np.inf]), "infinite"),
        (np.array([1e300]), "infinite"),
        (torch.tensor([float("nan")]), "NaN"),
        (np.zeros(4, np.uint8), "uint8"),
        (np.zeros(4, bool), "bool"),
        (np.zeros(4, complex), "complex"),
        (np.array(["a", "b"]), "dtype"),
        (torch.zeros(4, dtype=torch.int64), "int64"),
        (torch.zeros(4).to_sparse(), "no plain one"),
        (torch.zeros(4, device="meta"), "no plain one"),
        (b"RIFF", "or a file, not a bytes"),
        ([0.0, 0.1], "asarray"),
        ("file.wav", "asarray"),
    ],
)
def test_what_is_not_a_waveform_is_refused(x: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        to_samples(x)  # type: ignore[arg-type]
