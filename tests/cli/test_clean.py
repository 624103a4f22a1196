"""`denoise clean`: what it prints, what it exits with, and what it leaves behind."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising.cleaning.windows import WindowedCleaner
from audio_denoising.cli.app import main
from audio_denoising.models.checkpoint import export, load_checkpoint, save_checkpoint
from tests.cli.command import content, denoise, listing


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported checkpoint, untrained."""
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(folder / "full.pth", content())
    export(load_checkpoint(folder / "full.pth"), folder / "tiny.pth")
    return folder / "tiny.pth"


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """Half a second of noise, stereo, in a folder of its own."""
    samples = 0.1 * np.random.default_rng(0).standard_normal((22_050, 2))
    path = tmp_path / "in" / "street.wav"
    path.parent.mkdir()
    soundfile.write(path, samples, 44_100)
    return path


def test_clean_keeps_length_rate_and_channels(wav: Path, model: Path) -> None:
    result = denoise("clean", wav, "--model", model)
    assert (result.code, result.err) == (0, "")
    before, after = (soundfile.info(p) for p in (wav, wav.with_name("street_denoised.wav")))
    for name in ("frames", "samplerate", "channels"):
        assert getattr(before, name) == getattr(after, name)
    assert "street_denoised.wav" in result.out
    assert "model v4-small" in result.out and "device" in result.out
    assert re.search(r"0\.5 s of audio in .* s \(real-time factor \d", result.out)


def test_clean_never_overwrites_without_force(wav: Path, model: Path) -> None:
    output = wav.with_name("street_denoised.wav")
    output.write_text("precious")
    result = denoise("clean", wav, "--model", model)
    assert result.code == 2
    assert re.search("street_denoised.wav exists already.*--force", result.sentence)
    assert output.read_text() == "precious"
    assert denoise("clean", wav, "--model", model, "--force").code == 0
    assert soundfile.info(output).frames == soundfile.info(wav).frames


@pytest.mark.parametrize("name", ["a [bold] :car: [.wav", "ü é.wav"])
def test_names_are_printed_as_they_are(name: str, wav: Path, model: Path) -> None:
    source = wav.rename(wav.with_name(name))
    result = denoise("clean", source, "--model", model)
    output = source.with_name(f"{source.stem}_denoised.wav")
    assert result.code == 0 and output.exists()
    assert str(output) in result.out
    assert str(output) in denoise("clean", source, "--model", model).sentence


def test_a_terminal_that_cannot_show_a_name(
    wav: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = wav.rename(wav.with_name("caf\xe9.wav"))
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "argv", ["denoise", "clean", str(source), "--model", str(model)])
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(SystemExit) as end:
        main()
    terminal.flush()
    assert end.value.code == 0
    assert rb"caf\xe9_denoised.wav" in terminal.buffer.getvalue().replace(b"\n", b"")  # type: ignore[attr-defined]


def test_many_files(wav: Path, model: Path) -> None:
    """One that fails and one that is damaged are named at the end; the rest is done."""
    tree = wav.parent
    (tree / "deep").mkdir()
    samples, rate = soundfile.read(wav)
    soundfile.write(tree / "deep" / "b.flac", np.tile(samples, (6, 1)), rate)
    broken = tree / "deep" / "c.flac"
    broken.write_bytes((tree / "deep" / "b.flac").read_bytes()[:300_000])
    (tree / "text.wav").write_text("no sound\n" * 999)
    out = tree.parent / "out"
    command = ("clean", tree, "-r", "-o", out, "--model", model, "--jobs", 2, "--save-noise")
    result = denoise(*command)
    assert result.code == 1
    made = {"street", "deep/b", "deep/c"}
    found = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert {name.split(".")[0] for name in found} == made | {f"{name}_noise" for name in made}
    assert re.search(r"^3 files, [\d.]+ s of audio in .*model v4-small", result.out, re.MULTILINE)
    warning, error, last = result.err.splitlines()
    if "text.wav" in warning:
        warning, error = error, warning
    assert warning.startswith("Warning: ") and "c.flac is truncated or corrupt" in warning
    assert error.startswith("Error: ") and "text.wav is not an audio file" in error
    assert last == "2 of 4 files failed or came out incomplete"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    assert denoise(*command).code == 2  # they exist
    (tree / "text.wav").unlink()
    again = denoise(*command, "--skip-existing")
    assert (again.code, again.err) == (0, "")
    assert "3 of 3 files left out: the output exists" in again.out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*")} == before


def test_a_damaged_recording_is_cleaned_as_far_as_it_goes(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(96_000), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = denoise("clean", path, "--model", model)
    assert result.code == 1
    assert re.fullmatch(r"Warning: .*a\.flac is truncated or corrupt.* 2\.\d+ s.*\n", result.err)
    assert 32_000 < soundfile.info(tmp_path / "a_denoised.wav").frames < 64_000
    before = path.read_bytes()
    refusal = denoise("clean", path, "--model", model, "--in-place")
    assert refusal.code == 2 and "truncated or corrupt" in refusal.sentence
    assert path.read_bytes() == before


def test_strength_and_limit(wav: Path, model: Path) -> None:
    """0 of either gives the recording back; units are understood."""
    made = []
    for typed in ("--strength 0", "--limit 0dB", "--strength 80", "--strength 80%"):
        assert denoise("clean", wav, "--model", model, "--force", *typed.split()).code == 0
        made.append(soundfile.read(wav.with_name("street_denoised.wav"))[0])
    kept = soundfile.read(wav)[0]
    assert np.array_equal(made[0], kept) and np.array_equal(made[1], kept)
    assert np.array_equal(made[2], made[3]) and not np.array_equal(made[2], kept)


def test_the_noise_goes_beside_the_output_and_is_named(wav: Path, model: Path) -> None:
    output = wav.parent / "new" / "deep" / "out.flac"  # folders that have to be made
    result = denoise("clean", wav, "-o", output, "--save-noise", "--model", model)
    assert (result.code, result.err) == (0, "")
    noise = output.with_name("out_noise.flac")
    assert [str(output), str(noise)] == result.out.splitlines()[:2]
    assert soundfile.info(noise).format == "FLAC"
    assert listing(wav.parent).keys() == {"street.wav", "new"}


def test_a_folder_is_cleaned_but_for_what_has_no_good_name(wav: Path, model: Path) -> None:
    """A name with no room for its output's, a link to itself, and bytes that are no text."""
    samples = wav.read_bytes()
    (wav.parent / f"{'x' * 246}.wav").write_bytes(samples)
    (wav.parent / "circle.wav").symlink_to("circle.wav")
    odd = os.fsencode(wav.parent) + b"/caf\xe9.wav"
    try:
        Path(os.fsdecode(odd)).write_bytes(samples)
    except OSError:
        pytest.skip("this file system takes no such name")
    result = denoise("clean", wav.parent, "--model", model)
    assert result.code == 1
    assert "should not happen" not in result.err
    assert re.search("x_denoised.wav cannot be written .*name too long", result.err)
    assert re.search("circle.wav cannot be read", result.err)
    assert result.err.splitlines()[-1] == "2 of 4 files failed or came out incomplete"
    made = {path.name for path in wav.parent.glob("*_denoised.wav")}
    assert made == {"street_denoised.wav", os.fsdecode(b"caf\xe9_denoised.wav")}


def test_what_a_folder_keeps_to_itself_is_said(wav: Path, model: Path) -> None:
    denoise("clean", wav, "--model", model)
    wav.rename(wav.with_name("street_noise.wav"))  # a name that results have, too
    shutil.copy(wav.with_name("street_noise.wav"), wav)
    wav.with_name("x_denoised.wav").write_bytes(wav.read_bytes())
    out = wav.parent / "out"
    result = denoise("clean", wav.parent, "-o", out, "--model", model)
    assert result.code == 0
    assert "street_denoised.wav, street_noise.wav left out: made by an earlier run" in result.out
    assert listing(out).keys() == {"street.wav", "x_denoised.wav"}
    wav.with_name("street_denoised.wav").unlink()
    assert denoise("clean", wav.parent, "-o", out, "--model", model, "--force").code == 0
    assert listing(out).keys() == {"street.wav", "x_denoised.wav", "street_noise.wav"}


def test_in_place(wav: Path, model: Path) -> None:
    wav.chmod(0o600)
    before = wav.read_bytes()
    result = denoise("clean", wav, "--model", model, "--in-place")
    assert (result.code, result.err) == (0, "")
    assert listing(wav.parent).keys() == {"street.wav"}
    assert wav.read_bytes() != before and soundfile.info(wav).frames == 22_050
    assert stat.S_IMODE(wav.stat().st_mode) == 0o600


def test_pipes(wav: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but sound on standard output, the same as in the file."""

    def piped(content: bytes, *options: str) -> tuple[bytes, str]:
        stdin, stdout = (io.TextIOWrapper(io.BytesIO(each)) for each in (content, b""))
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "argv", ["denoise", "clean", "-", "--model", str(model), *options])
        for name, stream in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
            monkeypatch.setattr(sys, name, stream)
        with pytest.raises(SystemExit):
            main()
        return stdout.buffer.getvalue(), stderr.getvalue()  # type: ignore[attr-defined]

    output = wav.with_name("street_denoised.wav")
    assert denoise("clean", wav, "--model", model).code == 0
    sound, told = piped(wav.read_bytes())
    assert sound == output.read_bytes()
    assert re.fullmatch(r"0\.5 s of audio in .*\n", told)
    bare, _ = piped(soundfile.read(wav, dtype="<i2")[0].tobytes(), "--raw", "44100,2")
    assert bare == soundfile.read(output, dtype="<i2")[0].tobytes()
    nothing, told = piped(b"")
    assert nothing == b"" and told.startswith("Error: standard input is empty")


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [(None, "not an audio file"), ([], "no samples"), ([0.1, np.nan], "not numbers")],
)
def test_bad_input_is_one_sentence_that_names_the_file(
    samples: list[float] | None, sentence: str, tmp_path: Path, model: Path
) -> None:
    path = tmp_path / "a.wav"
    if samples is None:
        path.write_text("no sound\n" * 999)
    else:
        soundfile.write(path, np.array(samples), 16_000, "FLOAT")
    before = listing(tmp_path)
    result = denoise("clean", path, "--model", model)
    assert result.code == 2
    assert str(path) in result.sentence and sentence in result.sentence
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("street.wav/out.wav", "street.wav is a file"),
        (".", "is the input itself"),
    ],
)
def test_bad_output(output: str, sentence: str, wav: Path, model: Path) -> None:
    result = denoise("clean", wav, "-o", wav.parent / output, "--model", model)
    assert result.code == 2
    assert sentence in result.sentence
    assert listing(wav.parent).keys() == {"street.wav"}


def test_a_network_that_answers_no_numbers(wav: Path, tmp_path: Path) -> None:
    state = {name: value * float("nan") for name, value in content()["model"].items()}
    save_checkpoint(tmp_path / "bad.pth", content(model=state))
    result = denoise("clean", wav, "--model", tmp_path / "bad.pth")
    assert result.code == 2 and "v4-small" in result.sentence
    assert listing(wav.parent).keys() == {"street.wav"}


def test_ctrl_c_leaves_nothing(wav: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(WindowedCleaner, "_clean_windows", interrupt)
    result = denoise("clean", wav, "--model", model)
    assert result.code == 130
    assert "Traceback" not in result.err
    assert listing(wav.parent).keys() == {"street.wav"}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_nothing(
    name: str, wav: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip(f"this system has no {name}")

    def terminate(*arguments: object) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr(WindowedCleaner, "_clean_windows", terminate)
    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)
    try:
        result = denoise("clean", wav, "--model", model)
    finally:
        signal.signal(number, before)
    assert result.code == 128 + number
    assert "Traceback" not in result.err
    assert listing(wav.parent).keys() == {"street.wav"}
