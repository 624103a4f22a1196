"""The help of every command: whole, in groups, with defaults, and with examples that work."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import typer.main

from audio_denoising.cli import app as cli
from tests.cli.command import ROOT, denoise

PROGRAM = typer.main.get_command(cli.commands())


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command, by the words that call it; groups and the program itself among them."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = dict(commands(PROGRAM))
every_command = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


def examples(command: Any) -> list[list[str]]:
    """The command lines in a help text, without their first word."""
    lines = re.findall(r"^\[bold\]\s+denoise (.*)\[/bold\]$", command.help, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def options(command: Any) -> list[Any]:
    found = [each for each in command.params if each.param_type_name == "option"]
    return [each for each in found if not each.hidden]


@every_command
def test_the_purpose_is_one_sentence(path: tuple[str, ...]) -> None:
    purpose = COMMANDS[path].help.split("\n\n")[0]
    assert re.fullmatch(r"[A-Z](?:(?!\. ).)*\.", purpose)


@every_command
def test_every_option_has_help_and_a_place(path: tuple[str, ...]) -> None:
    found = options(COMMANDS[path])
    assert not [each.name for each in COMMANDS[path].params if not each.help]
    groups = {each.rich_help_panel for each in found}
    if len(found) > 6:
        assert None not in groups and len(groups) > 1


@every_command
def test_nothing_is_cut_off(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = denoise(*path, "--help").out
    assert "…" not in told
    assert max(map(len, told.splitlines())) <= 80
    words = " ".join(re.sub("[│╭╮╰╯─]", " ", told).split())
    for each in options(COMMANDS[path]):
        assert " ".join(each.help.split()) in words
        assert not each.rich_help_panel or each.rich_help_panel in words
    for example in examples(COMMANDS[path]):
        assert f"denoise {shlex.join(example)}" in words


@every_command
def test_the_examples_are_commands_that_exist(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    found = examples(COMMANDS[path])
    assert found
    for example in found:
        command: Any = PROGRAM
        while hasattr(command, "commands"):
            command = command.commands[example.pop(0)]
        if "--help" not in example:
            command.make_context("denoise", example)
        assert not path or command is COMMANDS[path] or path == ("data",)


def test_commands_are_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = denoise("--help").out
    groups = ("Denoise", "Compare and measure", "Train", "Data")
    places = [told.index(f"─ {group} ─") for group in groups]
    assert places == sorted(places)
    assert "Commands" not in told


def test_defaults_of_a_version_are_said_to_be_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    told = denoise("train", "--help").out
    assert told.count("[default: (the version's own)]") == 10
    assert re.search(r"--batch-size .*\[default: \(the version's own\)\]", told)
    assert "[default: 0.9]" in told  # of momentum, whatever the version


def test_the_examples_of_clean_and_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").mkdir()
    for name in ("noisy_street.wav", "noisy_rain.wav"):
        samples, rate = soundfile.read(ROOT / "examples" / name, frames=8000)
        soundfile.write(tmp_path / "examples" / name, samples, rate)
    monkeypatch.chdir(tmp_path)
    for example in examples(COMMANDS["clean",]):
        assert denoise(*example, "--device", "cpu").code == 0
    assert {path.name for path in (tmp_path / "cleaned").iterdir()} >= {"noisy_rain.wav"}
    assert (tmp_path / "rain.flac").exists()
    for example in examples(COMMANDS["models",])[:2]:
        assert "v4" in denoise(*example).out
