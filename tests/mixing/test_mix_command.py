"""A frozen set says what it is made of, is the same bytes every time, and replaces nothing."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from audio_denoising.cli.data import data_app
from audio_denoising.errors import UserError
from audio_denoising.mixing import frozen_folder
from audio_denoising.mixing.frozen_folder import choose
from audio_denoising.mixing.frozen_options import MixOptions
from audio_denoising.mixing.frozen_set import detailed_mix, long_enough, power

TINY = Path(__file__).parent.parent / "data"
SPEECH, NOISE = TINY / "LibriSpeech", TINY / "noise"


def mix(out: Path, *options: str, speech: Path = SPEECH, noise: Path = NOISE) -> str:
    """Runs the command; an error it raises is raised here."""
    arguments = ["mix", "--speech", str(speech), "--noise", str(noise), "--out", str(out)]
    result = CliRunner().invoke(data_app, [*arguments, "--shortest", "2", *options])
    if result.exception is not None:
        raise result.exception
    return result.output


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mix") / "new" / "set"  # parents are made
    mix(out, "--count", "6", "--snr", "0,7.5", "--bits", "24")
    return out


def test_the_folder_holds_what_the_manifest_says(frozen):
    lines = rows(frozen)
    assert len(lines) == 6
    assert {line[part] for line in lines for part in ("clean", "noisy")} == {
        name for name in contents(frozen) if name != "manifest.csv"
    }
    assert [line["snr_db"] for line in lines] == ["0", "7.5"] * 3
    assert len({line["speaker"] for line in lines}) == 3  # every speaker at every level
    for line in lines:
        assert line["split"] == "test" and line["seed"] == "7"
        assert "test-clean" in line["speech_file"] and "fold10" in line["noise_file"]
        assert (SPEECH / line["speech_file"]).is_file() and (NOISE / line["noise_file"]).is_file()


def test_the_files_can_be_made_again_from_the_manifest(frozen):
    for line in rows(frozen):
        clean, rate = soundfile.read(frozen / line["clean"])
        noisy, _ = soundfile.read(frozen / line["noisy"])
        assert rate == 16_000 and len(clean) == len(noisy) == int(line["samples"])
        added = noisy - clean
        snr = 10 * math.log10(np.mean(clean**2) / np.mean(added**2))
        assert snr == pytest.approx(float(line["snr_db"]), abs=0.01)
        speech, _ = soundfile.read(SPEECH / line["speech_file"])
        noise, _ = soundfile.read(NOISE / line["noise_file"])
        np.testing.assert_allclose(
            clean, float(line["scale"]) * speech[: len(clean)], atol=2e-6, rtol=0
        )
        again = np.resize(np.roll(noise, -int(line["noise_offset"])), len(clean))
        gain = float(line["scale"]) * float(line["noise_gain"])
        np.testing.assert_allclose(added, gain * again, atol=2e-6, rtol=0)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_set(frozen, tmp_path):
    options = ("--count", "6", "--snr", "0,7.5", "--bits", "24")
    mix(tmp_path / "again", *options)
    mix(tmp_path / "other", *options, "--seed", "8")
    assert contents(tmp_path / "again") == contents(frozen)
    assert contents(tmp_path / "other") != contents(frozen)


def test_an_earlier_set_is_replaced_only_by_force_and_anything_else_never(tmp_path):
    out = tmp_path / "set"
    out.mkdir()
    mix(out, "--count", "1")  # an empty folder is free
    before = contents(out)
    with pytest.raises(UserError, match="holds a set.*--force"):
        mix(out, "--count", "2")
    assert contents(out) == before
    mix(out, "--count", "2", "--force")
    assert len(rows(out)) == 2
    (out / "notes.txt").write_text("mine")
    for options in ((), ("--force",)):
        with pytest.raises(UserError, match=r"notes\.txt.*never replaced"):
            mix(out, "--count", "1", *options)
    assert (out / "notes.txt").exists() and len(rows(out)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_set_that_cannot_be_finished_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "set"
    mix(out, "--count", "1")
    before = contents(out)
    monkeypatch.setattr(frozen_folder.soundfile, "write", full)
    for target in (out, tmp_path / "fresh"):
        with pytest.raises(UserError, match="No space left.*--out"):
            mix(target, "--count", "1", "--force")
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_damaged_and_silent_recordings_are_passed_over(write, tmp_path):
    for name in ("anna/1", "anna/2", "ben/1", "cora/1"):
        write(f"speech/{name}.wav", seconds=2.5)
    write("speech/anna/silent.wav", samples=np.zeros(40_000))
    for name in ("rain", "wind"):
        write(f"noise/{name}.wav", seconds=2.5)
    write("noise/silent.wav", samples=np.zeros(40_000))
    for name in ("speech/ben/1.flac", "noise/cut.flac"):
        path = write(name, seconds=2.5)
        path.write_bytes(path.read_bytes()[:3_000])  # its header is whole
    out = tmp_path / "set"
    mix(
        out, "--count", "12", "--split", "all", speech=tmp_path / "speech", noise=tmp_path / "noise"
    )
    used = {line[part] for line in rows(out) for part in ("speech_file", "noise_file")}
    assert used == {
        "anna/1.wav", "anna/2.wav", "ben/1.wav", "cora/1.wav", "rain.wav", "wind.wav"
    }  # fmt: skip


def test_nothing_but_silence_is_refused(write, tmp_path):
    write("speech/silent.wav", samples=np.zeros(40_000))
    write("noise/rain.wav", seconds=2.5)
    with pytest.raises(UserError, match="silent or cannot be decoded.*data check"):
        choose(tmp_path / "speech", tmp_path / "noise", MixOptions(part="all", shortest=2))


def test_recordings_that_are_too_short_are_refused_with_the_way_out(tiny_noise, tmp_path):
    with pytest.raises(UserError, match="no speech of 60 s or more in its test split"):
        choose(SPEECH, NOISE, MixOptions(shortest=60))
    with pytest.raises(UserError, match=r"no audible noise of 61\.5 s or more: "):
        choose(SPEECH, NOISE, MixOptions(part="all", shortest=2, shortest_noise=61.5))
    assert long_enough(tiny_noise, 16_000 * 60) == {}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"levels": "0,loud"}, "--snr '0,loud'"),
        ({"levels": ""}, "--snr ''"),
        ({"levels": "nan"}, "--snr 'nan'"),
        ({"levels": "200"}, "within ±100 dB"),
        ({"part": "dev"}, "unknown split 'dev'"),
        ({"longest": 0.0}, "--longest must be between"),
        ({"shortest_noise": math.nan}, "--shortest-noise must be"),
    ],
)
def test_senseless_options_are_refused(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        MixOptions(**wrong)


def test_negative_levels_are_levels():
    assert MixOptions(levels="-5, 0,2.5").snrs_db == (-5.0, 0.0, 2.5)


# One mixture


@settings(max_examples=40)
@given(
    st.floats(0, 15),
    st.floats(0.002, 1.5),
    st.floats(0.002, 1.5),
    st.integers(0, 2**32 - 1),
)
def test_the_ratio_is_exact_and_nothing_clips(snr_db, speech_level, noise_level, seed):
    rng = np.random.default_rng(seed)
    speech = speech_level * rng.uniform(-1, 1, 4_000)
    noise = noise_level * rng.standard_normal(4_000)
    clean, noisy, *_ = detailed_mix(speech, noise, snr_db)
    assert clean.dtype == noisy.dtype == np.float32
    ratio = power(clean) / power(noisy.astype(np.float64) - clean)
    assert 10 * math.log10(ratio) == pytest.approx(snr_db, abs=0.01)
    assert max(np.abs(clean).max(), np.abs(noisy).max()) <= 1
    scale = clean[0] / speech[0]  # one number for the whole stretch, 1 where there is room
    np.testing.assert_allclose(clean, scale * speech, atol=1e-6)
    assert scale <= 1 + 1e-6
    if speech_level < 0.1 and snr_db > 5:
        assert scale == pytest.approx(1, abs=1e-6)


def test_silence():
    sound, silence = np.full(8, 0.5), np.zeros(8)
    for speech, noise in ((sound, silence), (silence, sound), (silence, silence)):
        clean, noisy, *_ = detailed_mix(speech, noise, 5)
        np.testing.assert_array_equal(clean, speech)
        np.testing.assert_array_equal(noisy, speech + noise)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="differ in length"):
        detailed_mix(np.ones(3), np.ones(4), 0)
