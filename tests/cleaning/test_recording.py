"""Files: the noise beside the cleaned recording, full scale, damage, and what may be replaced."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.errors import UserError


def smoothing(image: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(image, 9, stride=1, padding=4)


def noise(length: int, channels: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((length, channels))


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", noise(60_000, 2), 44_100, subtype="FLOAT")
    return tmp_path / "a.wav"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(("strength", "limit"), [(100, None), (60, None), (100, 12.0), (0, None)])
def test_the_recording_is_what_is_kept_and_what_is_taken_out(
    wav: Path, strength: float, limit: float | None
) -> None:
    report = Denoiser(smoothing).denoise_file(
        wav, strength=strength, limit=limit, save_noise=wav.with_name("n.wav")
    )
    x, kept, removed = (soundfile.read(p)[0] for p in (wav, report.output, wav.with_name("n.wav")))
    assert np.abs(kept + removed - x).max() < 1e-4 * np.abs(x).max()  # -80 dB
    assert removed.any() == (strength > 0)


ODD = {
    "32 channels": (8000, noise(4000, 32)),
    "192 kHz": (192_000, noise(50_000)),
    "1 kHz": (1000, noise(700)),
    "one bit": (16_000, np.sign(noise(20_000))),
    "silence": (16_000, np.zeros((20_000, 2))),
    "DC offset": (16_000, 0.7 + 0.1 * noise(20_000)),
    "one sample": (48_000, noise(1)),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_recordings_come_out_whole(kind: str, tmp_path: Path) -> None:
    rate, samples = ODD[kind]
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    report = Denoiser(smoothing).denoise_file(tmp_path / "a.wav")
    cleaned, cleaned_rate = soundfile.read(report.output, always_2d=True)
    assert cleaned_rate == rate and cleaned.shape == samples.shape and np.isfinite(cleaned).all()
    assert cleaned.any() == (kind != "silence")


def low_pass(image: Tensor) -> Tensor:
    keep = torch.zeros_like(image)
    keep[:, :, :20] = image[:, :, :20]
    return keep


def test_integers_are_limited_with_a_warning(tmp_path: Path) -> None:
    """A square wave at full scale: without its upper harmonics it overshoots."""
    time = np.arange(32_000) / 16_000
    square = np.sign(np.sin(2 * np.pi * 110 * time) + 1e-9)
    soundfile.write(tmp_path / "a.wav", square, 16_000, subtype="PCM_16")
    report = Denoiser(low_pass).denoise_file(tmp_path / "a.wav")
    (warning,) = report.warnings
    count = int(warning.split()[0])
    assert count > 1000 and "a_denoised.wav went beyond full scale" in warning
    samples = soundfile.read(report.output)[0]
    assert (np.abs(samples) > 0.9999).sum() >= count


def test_the_input_is_replaced_only_in_place(wav: Path) -> None:
    denoiser = Denoiser(smoothing)
    before = wav.read_bytes()
    link = wav.with_name("link.wav")
    os.link(wav, link)
    for output in (wav, link, wav.parent / ".." / wav.parent.name / "a.wav"):
        with pytest.raises(UserError, match="is the input itself.*in_place=True"):
            denoiser.denoise_file(wav, output, force=True)
    with pytest.raises(UserError, match="is the input itself"):
        denoiser.denoise_file(wav, wav.with_name("b.wav"), save_noise=wav, force=True)
    with pytest.raises(UserError, match="exclude each other"):
        denoiser.denoise_file(wav, wav.with_name("b.wav"), in_place=True)
    assert wav.read_bytes() == before and names(wav.parent) == {"a.wav", "link.wav"}
    expected = denoiser(soundfile.read(wav)[0].T.astype(np.float32), 44_100)
    report = denoiser.denoise_file(wav, in_place=True)
    assert report.output == wav and np.array_equal(soundfile.read(wav)[0].T, expected)


def test_an_interrupt_in_place_leaves_the_input(wav: Path) -> None:
    def interrupt(image: Tensor) -> Tensor:
        raise KeyboardInterrupt

    before = wav.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        Denoiser(interrupt).denoise_file(wav, in_place=True, save_noise=wav.with_name("n.wav"))
    assert wav.read_bytes() == before and names(wav.parent) == {"a.wav"}


def test_the_noise_needs_a_name_of_its_own(wav: Path) -> None:
    output = wav.with_name("b.wav")
    with pytest.raises(UserError, match="cannot hold both"):
        Denoiser(smoothing).denoise_file(wav, output, save_noise=output)
    wav.with_name("n.wav").write_text("precious")
    with pytest.raises(UserError, match=r"n\.wav exists already"):
        Denoiser(smoothing).denoise_file(wav, output, save_noise=wav.with_name("n.wav"))
    assert names(wav.parent) == {"a.wav", "n.wav"}
