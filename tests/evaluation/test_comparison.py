"""`denoise compare`: alignment of references, scores, files on disk, and the command itself."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torch import Tensor
from typer.testing import CliRunner

from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.cli.app import commands
from audio_denoising.dsp.measures import si_sdr
from audio_denoising.errors import UserError
from audio_denoising.evaluation.comparison import (
    Comparison,
    Take,
    compare,
)
from audio_denoising.evaluation.report import write_comparisons
from audio_denoising.evaluation.testset import read_pair

RATE = 16_000
SECONDS = 2.3  # DNSMOS hears four times as much in one piece
EXAMPLES = Path(__file__).parents[2] / "examples"


def unchanged(image: Tensor) -> Tensor:
    return image


def quieter(image: Tensor) -> Tensor:
    """Six decibels less everywhere."""
    return (image - 6 / 80).clamp(min=0)


def voice(seconds: float = SECONDS, channels: int = 1, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(size=(channels, int(seconds * RATE))) * 0.05
    return samples.astype(np.float32)


def two_models() -> list[tuple[str, Denoiser]]:
    return [("same", Denoiser(unchanged)), ("quieter", Denoiser(quieter))]


@pytest.fixture(scope="module")
def result() -> Comparison:
    """A recording through two networks that do as good as nothing."""
    clean = voice()
    return compare("a / b.wav", clean + voice(seed=1) / 4, RATE, two_models(), clean)


def test_takes_stand_in_order_and_are_scored(result: Comparison) -> None:
    assert [take.name for take in result.takes] == ["noisy", "same", "quieter", "clean"]
    assert result.has_reference
    noisy, same, quiet, clean = result.takes
    assert noisy.scores["SI-SDR dB"] == pytest.approx(12.04, abs=0.3)
    assert same.scores["SI-SDR dB"] == pytest.approx(noisy.scores["SI-SDR dB"], abs=0.1)
    assert quiet.speech_level == pytest.approx(noisy.speech_level - 6, abs=0.2)
    assert same.scores["RTF"] > 0
    assert not {"RTF"} & (noisy.scores.keys() | clean.scores.keys())


def test_without_a_reference_nothing_is_scored_against_it() -> None:
    result = compare("x", voice(), RATE, two_models())
    assert not result.has_reference
    assert all(take.scores.keys() <= {"pauses dB", "RTF"} for take in result.takes)


@pytest.mark.parametrize("lag", [-700, 1, 700])
def test_reference_is_shifted_to_where_it_fits(lag: int, tmp_path: Path) -> None:
    samples = voice(channels=2)
    soundfile.write(tmp_path / "noisy.wav", samples.T, RATE, "FLOAT")
    soundfile.write(tmp_path / "clean.wav", np.roll(samples, -lag, axis=1).T, RATE, "FLOAT")
    noisy, aligned, _ = read_pair(tmp_path / "noisy.wav", tmp_path / "clean.wav")
    assert aligned is not None and aligned.shape == noisy.shape
    inner = slice(800, -800)
    np.testing.assert_array_equal(aligned[:, inner], samples[:, inner])


def test_mono_reference_serves_every_channel(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noisy.wav", voice(channels=2).T, RATE)
    soundfile.write(tmp_path / "clean.wav", voice().T, RATE)
    noisy, clean, _ = read_pair(tmp_path / "noisy.wav", tmp_path / "clean.wav")
    assert clean is not None
    assert clean.shape == noisy.shape == (2, int(SECONDS * RATE))


def test_folders_hold_sound_picture_and_table(result: Comparison, tmp_path: Path) -> None:
    odd = [Take(name, voice(0.1)) for name in ("../we ird", "a/best.pth", "a best.pth")]
    # Recordings of one name do not overwrite each other, nor do takes.
    compared = [Comparison("..", RATE, odd), result, Comparison("..", RATE, odd[:1])]
    assert write_comparisons(compared, tmp_path / "out").is_file()
    held = {
        place.name: {path.name for path in place.iterdir()}
        for place in (tmp_path / "out").iterdir()
        if place.is_dir()
    }
    both = {"spectrograms.png", "metrics.csv"}
    assert held == {
        "recording": both | {"we_ird.wav", "a_best.pth.wav", "a_best.pth_2.wav"},
        "b": both | {"noisy.wav", "same.wav", "quieter.wav", "clean.wav"},
        "recording_2": both | {"we_ird.wav"},
    }
    for take in result.takes:
        heard, rate = soundfile.read(tmp_path / "out" / "b" / f"{take.name}.wav")
        assert rate == RATE
        np.testing.assert_allclose(heard, take.samples[0], atol=1e-4)
    rows = list(csv.DictReader((tmp_path / "out" / "b" / "metrics.csv").open()))
    assert [row["version"] for row in rows] == ["noisy", "same", "quieter", "clean"]
    assert float(rows[1]["SI-SDR dB"]) == pytest.approx(12.04, abs=0.4)


def test_command_compares_shipped_versions(tmp_path: Path) -> None:
    noisy, clean = tmp_path / "noisy_street.wav", tmp_path / "clean_street.flac"
    sounds = [
        soundfile.read(EXAMPLES / path.name)[0][: 2 * int(SECONDS * RATE)]
        for path in (noisy, clean)
    ]
    for path, samples in zip((noisy, clean), sounds, strict=True):
        soundfile.write(path, samples, RATE)
    arguments = ["compare", str(noisy), "--clean", str(clean), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(commands(), [*arguments, "--model", "v4", "--model", "torch"])
    assert result.exit_code == 0, result.output
    table = (tmp_path / "out" / "noisy_street" / "metrics.csv").read_text().splitlines()
    scores = {row["version"]: float(row["SI-SDR dB"] or 0) for row in csv.DictReader(table)}
    assert f"{scores['v4']:.1f}" in result.output
    assert scores["noisy"] == pytest.approx(si_sdr(*sounds), abs=0.1)
    assert min(scores["v4"], scores["torch"]) > scores["noisy"] + 2
    assert (tmp_path / "out" / "noisy_street" / "v4.wav").is_file()
    report = tmp_path / "out" / "report.html"
    before = report.read_bytes()
    again = CliRunner().invoke(commands(), [*arguments, "--model", "v4"])
    assert isinstance(again.exception, UserError)
    assert "report.html exists already" in str(again.exception)
    assert report.read_bytes() == before
