"""Help and refusals: one sentence each, said before anything heavy is loaded."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch

from audio_denoising import __version__
from audio_denoising.cli import app as cli
from audio_denoising.cli.app import main
from tests.cli.command import CORPORA, ROOT, content, denoise, listing, python, run


def test_no_command_shows_the_help() -> None:
    told = denoise().out
    assert all(command in told for command in ("clean", "train", "models", "export"))


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


def test_a_pipe_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # what Python makes of it
    assert "- is for pipes" in denoise("clean", "-").sentence


def _train(*arguments: object) -> tuple[object, ...]:
    small = (*CORPORA, "--size", "small")
    return ("train", "v4", *small, "--device", "cpu", *arguments)


STREET, README = ROOT / "examples" / "noisy_street.wav", ROOT / "README.md"

REFUSED_AT_ONCE: list[tuple[tuple[object, ...], str]] = [
    (("train", "v9"), r"unknown version 'v9': choose one of v2, v3, v4, torch"),
    (("train", "v4", "--size", "huge"), r"unknown size 'huge'"),
    (("train", "v4", "--batch-size", "0"), r"--batch-size must be above 0"),
    (("train", "v4", "--seed", "-1"), r"--seed must not be negative"),
    (("train", "v4", "--epochs", "0"), r"--epochs must be above 0"),
    (("evaluate", "--jobs", "0"), r"--jobs must be above 0"),
    (_train("--start-from", "nothing.pth"), r"no checkpoint at nothing.pth"),
    (_train("--resume"), r"no checkpoint at .*last.pth"),
    (_train("--speech", "nowhere"), r"nowhere does not exist.*--speech.*data download"),
    (_train("--speech", README), r"README.md is a file.*folder"),
    (("clean", "nothing.wav"), r"nothing.wav does not exist"),
    (("clean", "*.wav"), r"no file fits \*.wav"),
    (("clean", "a.wav", "--jobs", "0"), r"--jobs must be above 0"),
    (("clean", "a.wav", "--raw", "8000,1"), r"goes with - as the input"),
    (("clean", "-", "a.wav"), r"- is one pipe"),
    (("clean", "-", "--ray", "local"), r"--ray goes without pipes"),
    (("clean", "a.wav", "--in-place", "--skip-existing"), r"would skip all"),
    (("clean", "a.wav", "b.wav"), r"b.wav does not exist: did you mean -o b.wav"),
    (("page", ""), r"an argument is empty: give a name"),
    (("clean", "https://a.b/c.wav"), r"https://a.b/c.wav is an address.*download"),
    (("clean", "s3://a/c.wav"), r"s3://a/c.wav is an address.*--ray"),
    (("clean", "a.wav", "--strength", "0.8"), r"did you mean 80\?"),
    (("clean", "a.wav", "--strength", "loud"), r"--strength loud is not a number"),
    (("clean", "a.wav", "--model", "v9"), r"no version v9: choose one of v2, v3, v4.*, torch"),
    (("clean", "a.wav", "--model", "a.pth"), r"no checkpoint at a.pth"),
    (("clean", "a.wav", "--device", "toaster"), r"no device toaster here"),
    (("clean", "x" * 300 + ".wav"), r"x.wav cannot be read .*name too long"),
    (("clean", README, "-o", "a.xyz"), r"known audio format"),
    (("clean", "-", "-o", ROOT), r"is a folder"),
    (("clean", STREET, "-o", "/proc/a.wav"), r"/proc/a.wav cannot be written"),  # to root, too
    (("models", "nothing.pth"), r"no checkpoint at nothing.pth"),
    (("export", "nothing.pth", "out.pth"), r"no checkpoint at nothing.pth"),
    (("export", "v4", "v4.bin"), r"v4.bin is no format .* .safetensors, .pth or .onnx, or in /"),
    (("export", "v4", "v4", "--samples"), r"--samples goes with an .onnx file"),
    (("noisy.wav",), r"noisy.wav is no command: did you mean `denoise clean noisy.wav`"),
    (("clean", "-dash.wav"), r"-dash.wav reads like an option: write ./-dash.wav"),
    (("train", "v4", "--augment", "wild"), r"unknown augmentation 'wild' for v4: choose one of "),
    (("evaluate",), r"LibriSpeech does not exist.*--speech.*data download"),
    (("compare", "nothing.wav"), r"nothing.wav does not exist"),
    (("compare", "a.wav", "b.wav", "--clean", "c.wav"), r"one recording"),
    (("compare", STREET, "--model", "v9"), r"no version v9"),
    (("evaluate", "--model", "v9"), r"no version v9"),
    (("compare", "--snr", "7"), r"no mixture at 7 dB"),
    (("compare",), r"give a recording to compare.*LibriSpeech is not there"),
    (("data", "download", "music"), r"no corpus 'music'; choose librispeech"),
    (("data", "check"), r"LibriSpeech does not exist.*data download"),
    (("data", "check", "--speech", ROOT / "src"), r"No speech was found in .*src.*no audio files"),
    (("data", "check", "--speech", "a.tar"), r"a.tar is not.*before they become shards"),
    (("data", "mix", "--bits", "9"), r"--bits must be 16 or 24"),
    (("data", "mix"), r"LibriSpeech does not exist"),
    (("data", "shard", "--split", "dev"), r"unknown split 'dev'"),
    (("serve", "--model", "v9"), r"no version v9"),
    (("page", "site", "--model", "v9"), r"no version v9"),
    (("page", README), r"README.md is a file"),
    (("clean", "a.wav", "--device", "xpu" if sys.platform == "darwin" else "mps"), r"no device"),
    (("evaluate", "--update"), r"--update belongs to a file of scores"),
    (("export", "v4", ROOT / "examples"), r"examples holds other files"),
    (_train("--speech", ROOT / "src"), r"No speech was found in .*src.*--speech"),
    (_train("--rooms", "nowhere"), r"--rooms is for v5"),
    (("train", "v5", *CORPORA, "--rooms", "nowhere"), r"nowhere does not exist.*--rooms"),
    (_train("--cache", README), r"README.md is a file: --cache takes a folder"),
    (_train("--out", README), r"README.md cannot be written"),
    (_train("--epoch-size", 2, "--batch-size", 3), r"does not fill one batch of 3"),
    (("data", "prepare", *CORPORA, "--cache", README), r"README.md is a file: --cache"),
    (("data", "mix", *CORPORA, "--out", README), r"README.md is a file"),
    (("data", "shard", *CORPORA, "--out", README), r"README.md is a file: give --out"),
]
"""Arguments and what is said of them before anything heavy is loaded."""

REFUSED_WITHOUT_TORCH: list[tuple[tuple[object, ...], str]] = [
    (("clean", README), r"README.md is not an audio file"),
    (("clean", STREET, "-o", "a.wav", "--model", STREET), r"is not a readable checkpoint"),
    (("clean", STREET, "--ray", "host"), r"host is no address of a Ray: give HOST:PORT"),
    (("clean", STREET, "--ray", "127.0.0.1:1"), r"no Ray answers at 127.0.0.1:1.*refused"),
    (("compare", README), r"README.md is not an audio file"),
    (("compare", STREET, "--model", STREET), r"is not a readable checkpoint"),
    (("compare", STREET, "--clean", ROOT / "examples" / "noisy_rain.wav"), r"rain.wav (has|lasts)"),
    (("compare", "--histories", "nothing"), r"no training history at nothing"),
    (("compare", "--histories", "v5", "-o", "a.xyz"), r"must end in .png"),
    (("evaluate", "--testset", "nowhere"), r"nowhere has no folder clean"),
    (("evaluate", "--testset", "nowhere", "--model", STREET), r"is not a readable checkpoint"),
    (("models", STREET), r"is not a readable checkpoint"),
    (("export", STREET, "a.onnx"), r"is not a readable checkpoint"),
    (("export", STREET, "a"), r"is not a readable checkpoint"),
    (("export", "v4", "a.onnx", "--samples"), r"v4 hears images"),
    (("serve", "--model", STREET), r"is not a readable checkpoint"),
    (("page", "site", "--model", "v4"), r"v4 hears images.*the page in a browser needs"),
    (_train("--start-from", STREET), r"is not a readable checkpoint"),
    (_train("--start-from", "v5"), r"holds v5-base, not v4-small"),
    (("serve", "--model", "v4"), r"v4 hears images.*the page in a browser needs"),
    (("export", "v5", README / "v5"), r"README.md is a file: choose another folder"),
    (("data", "prepare", *CORPORA, "--cache", "/proc/a"), r"/proc takes no file"),
    (("data", "prepare", "--speech", "a.tar", *CORPORA[2:]), r"a.tar does not exist"),
    (("data", "mix", *CORPORA, "--out", "/proc/a"), r"/proc takes no file"),
    (("data", "shard", *CORPORA, "--out", "/proc/a"), r"/proc takes no file"),
    (("data", "shard", *CORPORA, "--hold-out", "nobody"), r"to hold out is called 'nobody'"),
    (("clean", README, "--ray", "auto"), r"README.md is not an audio file"),
    (("clean", "nothing.wav", "--ray", "local"), r"nothing.wav does not exist"),
    (_train("--batch-size", 1000), r"does not fill one batch of 1000"),
    (_train("--hold-out", "nobody"), r"Nothing to hold out is called 'nobody'"),
    (("data", "check", *CORPORA, "--hold-out", "nobody"), r"to hold out is called 'nobody'"),
    (("train", "v4", "--speech", "a.tar", "--noise", "b.tar"), r"a.tar does not exist: check"),
]
"""The same, of what has to be opened: the libraries that read sound are loaded, torch is not."""

REFUSED_LATER: list[tuple[tuple[object, ...], str]] = [
    (_train("--device", "cuda:99", "--batch-size", 4), r"no device cuda:99 .*choose auto or cpu")
]


@pytest.mark.parametrize(
    ("arguments", "sentence"), [*REFUSED_AT_ONCE, *REFUSED_WITHOUT_TORCH, *REFUSED_LATER]
)
def test_a_refusal_is_one_sentence_and_leaves_nothing(
    arguments: tuple[object, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
heavy = {"torch", "numpy", "matplotlib", "soundfile", "soxr", "av", "pydantic"}
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["denoise", *arguments]
    try:
        main()
    except SystemExit:
        pass
    print("loaded by", arguments, ":", sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


def test_nothing_heavy_is_loaded_to_help_to_list_or_to_refuse(tmp_path: Path) -> None:
    light = [["--version"], ["--help"], ["-h"], ["models"]]
    light += [[*path, "-h"] for path in (["clean"], ["train"], ["data", "mix"])]
    light += [list(map(str, arguments)) for arguments, _ in REFUSED_AT_ONCE]
    opened = [list(map(str, arguments)) for arguments, _ in REFUSED_WITHOUT_TORCH]
    opened.append(["clean", str(README), str(ROOT / "pyproject.toml")])
    odd = {
        "other": {"weights": torch.ones(3)},
        "signal": content(signal={}),
        "bare": content(model={}),
    }
    for name, held in odd.items():
        torch.save(held, tmp_path / f"{name}.pth")
        opened += [["models", f"{name}.pth"], ["clean", str(STREET), "--model", f"{name}.pth"]]
    torch.save(content(), tmp_path / "v4.pth")
    opened += [["models", "v4.pth"], ["page", "site", "--model", "v4.pth"]]
    opened += [["live", "--model", "v4.pth"]]
    opened += [["clean", "-", "--raw", "8000,1", "--model", "v4"]]
    with Path(os.devnull).open("rb") as nothing:
        told = python("-c", WATCHED, json.dumps(light + opened), cwd=tmp_path, stdin=nothing).err
    loaded = [line for line in told.splitlines() if line.startswith("loaded by")]
    assert len(loaded) == len(light) + len(opened)
    assert not [line for line in loaded[: len(light)] if not line.endswith(": []")]
    assert not [line for line in loaded if "'torch'" in line]


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


# Root without what lets it read everything.
BOUND = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_files_and_folders_without_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "secret.wav").touch(mode=0)
    called = (sys.executable, "-m", "audio_denoising")
    for words in (_train("--speech", "closed"), ("clean", "secret.wav")):
        command = (*(BOUND if os.geteuid() == 0 else ()), *called, *words)
        result = run(*command, cwd=tmp_path)
        assert result.code == 2
        assert re.search("(closed|secret.wav) cannot be read .Permission denied", result.sentence)
    assert listing(tmp_path).keys() == {"closed", "secret.wav"}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_traceback_only_with_debug(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["clean", str(tmp_path / "nothing.wav")]
    assert "nothing.wav does not exist" in denoise(*words).sentence
    monkeypatch.setattr(sys, "argv", ["denoise", *words[:place], "--debug", *words[place:]])
    with pytest.raises(ValueError, match="nothing.wav does not exist"):
        main()


def test_a_fault_of_the_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("audio_denoising.cleaning.recording.clean_recording", fail)
    result = denoise("clean", ROOT / "examples" / "noisy_street.wav", "-o", "nowhere.wav")
    assert result.code == 1
    assert re.search("ZeroDivisionError: division by zero.*--debug", result.sentence)
