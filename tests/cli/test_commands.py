"""The command line: what it prints, what it exits with, and what it leaves behind."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pickle
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audio_denoising import __version__
from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.cleaning.windows import WindowedCleaner
from audio_denoising.cli import app as cli
from audio_denoising.cli import models as cli_models
from audio_denoising.cli.app import main
from audio_denoising.cli.options import NOISE, SPEECH
from audio_denoising.models import VERSIONS, build
from audio_denoising.models.checkpoint import describe, export, load_checkpoint, save_checkpoint
from audio_denoising.training import run as training_run

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "data"
COMMANDS = ("clean", "train", "models", "export")


class Result:
    """Exit code, standard output and standard error, without colours."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out, self.err = (re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text) for text in (out, err))

    @property
    def sentence(self) -> str:
        """The one line on standard error, after its "Error: "."""
        (line,) = self.err.splitlines()
        assert line.startswith("Error: ")
        return line.removeprefix("Error: ")


def denoise(*arguments: object) -> Result:
    """Runs the `denoise` command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["denoise", *map(str, arguments)])
        patch.setattr(torch, "set_num_threads", lambda count: None)
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as end,
        ):
            main()
    return Result(int(end.value.code or 0), out.getvalue(), err.getvalue())


def python(*arguments: object, cwd: Path = ROOT) -> Result:
    """Runs Python in a process of its own, on one thread."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**environment, "COLUMNS": "150"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def listing(folder: Path) -> dict[str, int]:
    """Names and sizes of all that lies in a folder."""
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def content(**changes: Any) -> dict[str, Any]:
    """A checkpoint of an untrained v4-small."""
    position = {"epoch": 2, "batch": 0, "step": 7}
    good = {**describe("v4", "small"), "history": [], "position": position}
    return {"model": build("v4", "small").state_dict(), **good, **changes}


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


# Help and version


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = denoise(command, "--help")
    assert (result.code, result.err) == (0, "")
    assert "Usage" in result.out
    assert f"denoise {command}" in result.out
    overview = denoise("--help")
    assert overview.code == 0 and command in overview.out


def test_train_lists_its_options() -> None:
    told = denoise("train", "--help").out
    options = "speech noise size epochs batch-size lr seed device resume out workers threads"
    assert not [name for name in options.split() if f"--{name}" not in told]


def test_no_command_shows_the_help() -> None:
    result = denoise()
    assert all(command in result.out for command in COMMANDS)


def test_a_full_disk_behind_the_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli.console, "print", full)
    result = denoise("--version")
    assert result.code == 2 and "standard output cannot be used (No space" in result.sentence


def test_version() -> None:
    result = denoise("--version")
    assert (result.code, result.out.strip()) == (0, f"audio-denoising {__version__}")


def test_without_docstrings() -> None:
    result = python("-OO", "-m", "audio_denoising", "clean", "--help")
    assert (result.code, result.err) == (0, "") and "--strength" in result.out


# Refusals


CORPORA = ("--speech", CORPUS / "LibriSpeech", "--noise", CORPUS / "noise")


def _train(*arguments: object) -> tuple[object, ...]:
    small = (*CORPORA, "--size", "small")
    return ("train", "v4", *small, "--workers", 0, "--device", "cpu", *arguments)


REFUSED_AT_ONCE: list[tuple[tuple[object, ...], str]] = [
    (("train", "v9"), r"unknown version 'v9': choose one of v2, v3, v4, torch"),
    (("train", "v4", "--size", "huge"), r"unknown size 'huge'"),
    (("train", "v4", "--epochs", "-1"), r"--epochs must be above 0"),
    (("train", "v4", "--batch-size", "0"), r"--batch-size must be above 0"),
    (("train", "v4", "--lr", "-1"), r"--lr must be above 0"),
    (("train", "v4", "--seed", "-1"), r"--seed must not be negative"),
    (("train", "v4", "--epochs", "0"), r"--epochs must be above 0"),
    (("train", "v4", "--lr", "0"), r"--lr must be above 0"),
    (("train", "v4", "--threads", "0"), r"--threads must be above 0"),
    (("train", "v4", "--size", ""), r"unknown size ''"),
    (("evaluate", "--jobs", "0"), r"--jobs must be above 0"),
    (("train", "v4", "--workers", "-1"), r"--workers must not be negative"),
    (_train("--device", "foo"), r"no device foo here: choose auto, cpu, cuda or mps"),
    (_train("--start-from", "nothing.pth"), r"no checkpoint at nothing.pth"),
    (_train("--resume"), r"no checkpoint at .*last.pth"),
    (_train("--speech", "nowhere"), r"nowhere does not exist.*--speech.*data download"),
    (_train("--speech", ROOT / "README.md"), r"README.md is a file.*folder"),
    (_train("--noise", "nowhere"), r"nowhere does not exist.*--noise"),
    (("clean", "nothing.wav"), r"nothing.wav does not exist"),
    (("clean", CORPUS), r"data is a folder without recordings: add --recursive"),
    (("clean", "*.wav"), r"no file fits \*.wav"),
    (("clean", "a.wav", "--strength", "101"), r"must be from 0 to 100"),
    (("clean", "a.wav", "--limit", "-3"), r"must be 0 or above"),
    (("clean", "a.wav", "--jobs", "0"), r"--jobs must be above 0"),
    (("clean", "a.wav", "--raw", "8000,1"), r"goes with - as the input"),
    (("clean", "-", "a.wav"), r"- is one pipe"),
    (("clean", "a.wav", "--in-place", "-o", "b.wav"), r"leave out --output"),
    (("clean", "a.wav", "--in-place", "--skip-existing"), r"would skip all"),
    (("clean", "a.wav", "b.wav"), r"b.wav does not exist: did you mean -o b.wav"),
    (("clean", "a.wav", "b.wav", "-o", "c.wav"), r"c.wav is the name of a file, and there are"),
    (("clean", "https://a.b/c.wav"), r"https://a.b/c.wav is an address.*download"),
    (("clean", "s3://a/c.wav"), r"s3://a/c.wav is an address.*--ray"),
    (("clean", "a.wav", "-o", "s3://a/c.wav"), r"s3://a/c.wav is an address"),
    (("clean", "a.wav", "--strength", "0.8"), r"did you mean 80\?"),
    (("clean", "a.wav", "--strength", "loud"), r"--strength loud is not a number"),
    (("clean", "a.wav", "--limit", "loud"), r"--limit loud is not a number"),
    (("clean", "a.wav", "--model", "v9"), r"no version v9: choose one of v2, v3, v4.*, torch"),
    (("clean", "a.wav", "--model", "a.pth"), r"no checkpoint at a.pth"),
    (("clean", "a.wav", "--device", "toaster"), r"no device toaster here"),
    (("clean", "x" * 300 + ".wav"), r"x.wav cannot be read .*name too long"),
    (("clean", ROOT / "README.md", "-o", "a.xyz"), r"known audio format"),
    (("clean", "-", "-o", ROOT), r"is a folder"),
    (("export", "nothing.pth", "out.pth"), r"no checkpoint at nothing.pth"),
    (("export", "v9", "out.pth"), r"no version v9: choose one of v2, v3, v4.*, torch"),
    (("models", "v9"), r"no version v9"),
    (("train", "v4", "--start-from", "v9", *CORPORA), r"no version v9"),
    (("noisy.wav",), r"noisy.wav is no command: did you mean `denoise clean noisy.wav`"),
    (("clean", "-dash.wav"), r"-dash.wav reads like an option: write ./-dash.wav"),
    (("clean", "-out.wav"), r"write ./-out.wav"),
    (("train", "v4", "--augment", "wild"), r"unknown augmentation 'wild' for v4: choose one of "),
    (("evaluate", "--model", "v9"), r"no version v9"),
    (("evaluate",), r"LibriSpeech does not exist.*--speech.*data download"),
    (("compare", "nothing.wav"), r"nothing.wav does not exist"),
    (("compare", "--snr", "7"), r"no mixture at 7 dB"),
    (("compare",), r"give a recording to compare.*LibriSpeech is not there"),
    (("data", "download", "music"), r"no corpus 'music'; choose librispeech"),
    (("data", "check"), r"LibriSpeech does not exist.*data download"),
    (("data", "mix", "--bits", "9"), r"--bits must be 16 or 24"),
    (("data", "mix"), r"LibriSpeech does not exist"),
    (("data", "prepare"), r"LibriSpeech does not exist"),
    (("data", "shard", "--split", "dev"), r"unknown split 'dev'"),
    (("data", "shard"), r"LibriSpeech does not exist"),
]
"""Arguments and what is said of them before anything heavy is loaded."""

REFUSED_LATER: list[tuple[tuple[object, ...], str]] = [
    (_train("--device", "cuda:99"), r"no device cuda:99 here: choose auto or cpu"),
    (_train("--epoch-size", 2, "--batch-size", 3), r"does not fill one batch of 3"),
    (_train("--speech", ROOT / "src"), r"No speech was found in .*src.*--speech"),
]


@pytest.mark.parametrize(("arguments", "sentence"), [*REFUSED_AT_ONCE, *REFUSED_LATER])
def test_a_refusal_is_one_sentence_and_leaves_nothing(
    arguments: tuple[object, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = denoise(*arguments)
    assert result.code == 2
    assert re.search(sentence, result.sentence)
    assert listing(tmp_path) == {}


# Prints what is loaded, right after the command that loaded it.
WATCHED = """
import json, sys
from audio_denoising.cli.app import main
heavy = {"torch", "numpy", "matplotlib", "soundfile", "soxr", "av"}
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["denoise", *arguments]
    try:
        main()
    except SystemExit:
        pass
    print("loaded by", arguments, ":", sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


def test_nothing_heavy_is_loaded_to_help_to_list_or_to_refuse(tmp_path: Path) -> None:
    commands = [["--version"], ["--help"], ["-h"], ["models"]]
    commands += [[*path, "-h"] for path in (["clean"], ["train"], ["data", "mix"])]
    commands += [list(map(str, arguments)) for arguments, _ in REFUSED_AT_ONCE]
    told = python("-c", WATCHED, json.dumps(commands), cwd=tmp_path).err
    loaded = [line for line in told.splitlines() if line.startswith("loaded by")]
    assert len(loaded) == len(commands)
    assert not [line for line in loaded if not line.endswith(": []")]


def test_shells_complete_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"COMP_WORDS": "denoise ex", "COMP_CWORD": "1"}
    for name, value in {**environment, "_DENOISE_COMPLETE": "complete_bash"}.items():
        monkeypatch.setenv(name, value)
    program = "import sys; sys.argv = ['denoise']; from audio_denoising.cli.app import main; main()"
    assert python("-c", program).out.split() == ["export"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("clean",),
        ("train", "v4", "--epochs", "many"),
        ("train", "v4", "--no-such-option"),
        ("verify", "surplus"),
    ],
)
def test_wrong_usage_is_explained(arguments: tuple[str, ...]) -> None:
    result = denoise(*arguments)
    assert result.code == 2
    assert "Usage" in result.err and "Traceback" not in result.err


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root reads everything")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        result = denoise(*_train("--speech", closed, "--out", tmp_path / "out"))
    finally:
        closed.chmod(0o755)
    assert result.code == 2 and "closed" in result.sentence


# Cleaning


@pytest.mark.parametrize("name", ["street.wav", "street.flac", "street.ogg", "street.mp3"])
def test_clean_keeps_length_rate_and_channels(name: str, wav: Path, model: Path) -> None:
    samples, rate = soundfile.read(wav)
    source = wav.with_name(name)
    soundfile.write(source, samples, rate)
    result = denoise("clean", source, "--model", model)
    assert (result.code, result.err) == (0, "")
    before, after = (soundfile.info(p) for p in (source, wav.with_name("street_denoised.wav")))
    for name in ("frames", "samplerate", "channels"):
        assert getattr(before, name) == getattr(after, name)
    assert "street_denoised.wav" in result.out
    assert "model v4-small" in result.out and "device" in result.out
    assert re.search(r"0\.5 s of audio in .* s \(real-time factor \d", result.out)


def test_clean_into_a_named_file(wav: Path, model: Path) -> None:
    output = wav.with_name("out.flac")
    assert denoise("clean", wav, "-o", output, "--model", model, "--device", "cpu").code == 0
    assert soundfile.info(output).format == "FLAC"
    assert listing(wav.parent).keys() == {"street.wav", "out.flac"}


def test_clean_never_overwrites_without_force(wav: Path, model: Path) -> None:
    output = wav.with_name("street_denoised.wav")
    output.write_text("precious")
    result = denoise("clean", wav, "--model", model)
    assert result.code == 2
    assert re.search("street_denoised.wav exists already.*--force", result.sentence)
    assert output.read_text() == "precious"
    assert denoise("clean", wav, "--model", model, "--force").code == 0
    assert soundfile.info(output).frames == soundfile.info(wav).frames


@pytest.mark.parametrize("name", ["a [bold] song.wav", "a [ song] [.wav", ":car:.wav", "ü é.wav"])
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
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    source = wav.rename(wav.with_name("caf\xe9.wav"))
    result = python("-m", "audio_denoising", "clean", source, "--model", model)
    assert (result.code, result.err) == (0, "")
    assert r"caf\xe9_denoised.wav" in result.out


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
    kept = soundfile.read(wav)[0]
    for option in (("--strength", 0), ("--limit", 0)):
        assert denoise("clean", wav, "--model", model, "--force", *option).code == 0
        assert np.array_equal(soundfile.read(wav.with_name("street_denoised.wav"))[0], kept)


def test_units_are_understood(wav: Path, model: Path) -> None:
    made = []
    for options in (("80", "12"), ("80%", "12dB"), (" 80 % ", "12 db")):
        typed = ("--strength", options[0], "--limit", options[1])
        assert denoise("clean", wav, "--model", model, "--force", *typed).code == 0
        made.append(wav.with_name("street_denoised.wav").read_bytes())
    assert made[0] == made[1] == made[2] != wav.read_bytes()


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


def test_pipes(wav: Path, model: Path) -> None:
    """Nothing but sound on standard output, the same as in the file."""
    command = [sys.executable, "-m", "audio_denoising", "clean", "-", "--model", str(model)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    options: dict[str, Any] = {"env": environment, "capture_output": True, "timeout": 120}
    output = wav.with_name("street_denoised.wav")
    assert denoise("clean", wav, "--model", model).code == 0
    done = subprocess.run(command, input=wav.read_bytes(), **options)
    assert done.returncode == 0 and done.stdout == output.read_bytes()
    assert re.fullmatch(rb"0\.5 s of audio in .*\n", done.stderr)
    samples = soundfile.read(wav, dtype="<i2")[0].tobytes()
    done = subprocess.run([*command, "--raw", "44100,2"], input=samples, **options)
    assert done.returncode == 0
    assert done.stdout == soundfile.read(output, dtype="<i2")[0].tobytes()
    done = subprocess.run(command, input=b"", **options)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"Error: standard input is empty")


def _not_finite(value: float) -> Callable[[Path], object]:
    samples = np.zeros(1000, np.float32)
    samples[500] = value
    return lambda path: soundfile.write(path, samples, 16_000, subtype="FLOAT")


BAD_INPUTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("a.wav", lambda path: None, "does not exist"),
    "folder": ("a.wav", lambda path: path.mkdir(), "is a folder"),
    "empty": ("a.wav", lambda path: path.write_bytes(b""), "is empty"),
    "text": ("a.wav", lambda path: path.write_text("no sound\n" * 999), "not an audio file"),
    "no samples": ("a.wav", lambda path: soundfile.write(path, np.zeros(0), 16_000), "no samples"),
    "NaN": ("a.wav", _not_finite(np.nan), "not numbers"),
    "infinite": ("a.wav", _not_finite(np.inf), "not numbers"),
}


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_bad_input_is_one_sentence_that_names_the_file(
    kind: str, tmp_path: Path, model: Path
) -> None:
    name, make, sentence = BAD_INPUTS[kind]
    path = tmp_path / name
    make(path)
    before = listing(tmp_path)
    result = denoise("clean", path, "--model", model)
    assert result.code == 2
    assert str(path) in result.sentence and sentence in result.sentence
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("street.wav/out.wav", "street.wav is a file"),
        ("out.xyz", "known audio format"),
        ("out", "known audio format"),
        (".", "is the input itself"),
    ],
)
def test_bad_output(output: str, sentence: str, wav: Path, model: Path) -> None:
    result = denoise("clean", wav, "-o", wav.parent / output, "--model", model)
    assert result.code == 2
    assert sentence in result.sentence
    assert listing(wav.parent).keys() == {"street.wav"}


class Payload:
    """Unpickling this makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("kind", ["hostile", "truncated", "text", "missing", "tensor", "NaN"])
def test_bad_checkpoint(kind: str, wav: Path, model: Path, tmp_path: Path) -> None:
    path, marker = tmp_path / "bad.pth", tmp_path / "the code has run"
    if kind == "hostile":
        path.write_bytes(pickle.dumps(Payload(marker)))
    elif kind == "truncated":
        path.write_bytes(model.read_bytes()[:100_000])
    elif kind == "text":
        path.write_text("no weights")
    elif kind == "tensor":
        torch.save(torch.rand(3), path)
    elif kind == "NaN":
        state = {name: value * float("nan") for name, value in content()["model"].items()}
        save_checkpoint(path, content(model=state))
    result = denoise("clean", wav, "--model", path)
    assert result.code == 2
    assert ("v4-small" if kind == "NaN" else "bad.pth") in result.sentence
    assert not marker.exists()
    assert listing(wav.parent).keys() == {"street.wav"}
    if kind != "NaN":
        assert "bad.pth" in denoise("export", path, tmp_path / "out.pth").sentence
        assert not (tmp_path / "out.pth").exists()
    assert not marker.exists()


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


# Errors and tracebacks, in a real process


def test_a_traceback_only_with_debug(tmp_path: Path) -> None:
    short = python("-m", "audio_denoising", "clean", tmp_path / "nothing.wav")
    assert (short.code, short.out) == (2, "")
    assert "nothing.wav does not exist" in short.sentence
    command = ["clean", tmp_path / "nothing.wav"]
    for place in (0, 1, 2):
        arguments = [*command[:place], "--debug", *command[place:]]
        long = python("-m", "audio_denoising", *arguments)
        assert long.code != 0
        assert "Traceback" in long.err and "nothing.wav does not exist" in long.err


def test_a_fault_of_the_program_says_so(
    wav: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Denoiser, "denoise_file", fail)
    result = denoise("clean", wav, "--model", model)
    assert result.code == 1
    assert re.search("ZeroDivisionError: division by zero.*--debug", result.sentence)
    with pytest.raises(ZeroDivisionError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["denoise", "--debug", "clean", str(wav), "--model", str(model)])
        main()


# Models and export


def test_models_lists_versions_sizes_parameters_and_weights(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_denoising.models.shipped.SHIPPED", tmp_path)
    (tmp_path / "v4-small.safetensors").symlink_to(model)
    monkeypatch.setattr(cli_models.console, "width", 200)
    told = denoise("models")
    assert (told.code, told.err) == (0, "")
    rows = [line.split() for line in told.out.splitlines()]
    for version, kind in VERSIONS.items():
        for size in kind.sizes:
            (row,) = (row for row in rows if row[:2] == [version, size])
            weights = build(version, size).parameters()
            assert row[2] == f"{sum(weight.data.numel() for weight in weights):,}"
            shipped = (version, size) == ("v4", "small")
            assert " ".join(row).endswith(" 5.5 MB" if shipped else " -")
    assert "non-commercial use (trained on UrbanSound8K, CC BY-NC 3.0): v4\n" in told.out


def test_export(model: Path, tmp_path: Path) -> None:
    full, output = model.with_name("full.pth"), tmp_path / "half.pth"
    result = denoise("export", full, output)
    assert (result.code, result.err) == (0, "")
    assert "half.pth 5.5 MB" in result.out
    assert load_checkpoint(output).steps == 7
    before = output.read_bytes()
    refusal = denoise("export", full, output)
    assert refusal.code == 2 and re.search("half.pth exists.*--force", refusal.sentence)
    assert output.read_bytes() == before
    assert denoise("export", full, output, "--force").code == 0


# Training


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the trainer is given when the command runs, in a folder with all that it names."""
    found: dict[str, Any] = {}

    class Stub:
        def __init__(self, options: Any, place: Any, watchers: Any, processes: Any) -> None:
            found.update(options=options, place=place, watchers=watchers)

        def run(self) -> bool:
            return False

    for name in ("s", "t", "x", "n", "m", "o", SPEECH, NOISE):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "o" / "last.pth").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_run, "Trainer", Stub)
    return found


def test_train_hands_on_every_option(given: dict[str, Any]) -> None:
    line = "train v2 --speech s=1 --noise n=3 --out o --size large --epochs 3 --batch-size 4 "
    line += "--epoch-size 8 --lr 0.5 --schedule cosine --warmup 2 --momentum 0.8 --clip-norm 1 "
    line += "--seed 7 --device cpu --workers 2 --threads 1 --start-from w.pth "
    line += "--resume --hold-out anna --hold-out ben --augment varied --cache c "
    line += "--speech t=2 --noise m=.5 --ema 0.99 --patience 4 --accumulate 2 --recompute "
    line += "--save-every 7 --tensorboard --profile"
    result = denoise(*line.split())
    assert (result.code, result.err) == (0, "")
    assert "Stopped and saved: go on with the same command and --resume (o)" in result.out
    assert given["options"].as_dict() == {
        "version": "v2",
        "size": "large",
        "epochs": 3,
        "batch_size": 4,
        "epoch_size": 8,
        "clip_seconds": 2.55,
        "learning_rate": 0.5,
        "schedule": "cosine",
        "warmup_steps": 2,
        "momentum": 0.8,
        "clip_norm": 1.0,
        "ema": 0.99,
        "patience": 4,
        "seed": 7,
        "start_from": "w.pth",
        "hold_out": ["anna", "ben"],
        "augmentation": "varied",
        "speech_weights": [1.0, 2.0],
        "noise_weights": [3.0, 0.5],
    }
    place = given["place"]
    folders = [*place.speech, *place.noise, place.out]
    assert [str(path) for path in folders] == ["s", "t", "n", "m", "o"]
    assert place.cache == Path("c")
    assert (place.device, place.workers, place.resume) == ("cpu", 2, True)
    assert (place.accumulate, place.recompute, place.save_seconds) == (2, True, 7.0)
    watching = [type(each).__name__ for each in given["watchers"]]
    assert watching == ["TensorBoardLog", "StepProfile", "TrainingDisplay"]
    denoise("train", "v3")
    assert str(given["place"].out) == str(Path("runs/v3-large"))
    assert (given["options"].speech_weights, given["place"].cache) == (None, None)
    assert given["options"].batch_size == 16 and not given["place"].resume
    assert len(given["watchers"]) == 1


# Runs a script with a short validation; all else is as a user has it.
SCRIPT = """
import runpy, sys
from audio_denoising.training import validation
validation.VALIDATION_SIZE = 2
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("version", ["v4", "torch"])
def test_the_documented_scripts_train(version: str, tmp_path: Path) -> None:
    script = ROOT / f"train_{version}.py"
    arguments = _train("--epochs", 1, "--epoch-size", 2, "--batch-size", 2, "--threads", 1)[2:]
    result = python("-c", SCRIPT, script, *arguments, "--out", tmp_path / "run")
    assert (result.code, result.err) == (0, ""), result.err
    assert f"{version}-small on cpu, 1 epoch of 1 step" in result.out
    assert re.search(r"epoch +1 +train loss 0\.\d", result.out)
    checkpoint = load_checkpoint(tmp_path / "run" / "best.pth")
    assert (checkpoint.version, checkpoint.steps) == (version, 1)


def test_the_documented_scripts_take_the_options_of_train() -> None:
    def options(text: str) -> set[str]:
        return set(re.findall(r"--[a-z-]+", text))

    expected = options(denoise("train", "--help").out)
    assert len(expected) > 15
    for version in ("v4", "torch"):
        result = python(ROOT / f"train_{version}.py", "--help")
        assert (result.code, options(result.out)) == (0, expected)
