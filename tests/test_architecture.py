"""The rooms of the package, and what leans on what: an import is an arrow, and must be allowed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "audio_denoising"
# Files beside the rooms.
GROUND = {"device", "errors", "files", "folders", "machine", "paths", "samples", "torch_settings"}
ARROWS = {
    "nn": set(),
    "dsp": set(),
    "media": {"dsp"},
    "models": {"nn", "dsp"},
    "corpora": {"media", "dsp"},
    "mixing": {"corpora", "dsp"},
    "cleaning": {"models", "media", "dsp", "nn"},
    "training": {"mixing", "corpora", "models", "dsp", "nn"},
    "evaluation": {"cleaning", "mixing", "corpora", "models", "media", "dsp", "nn"},
    "web": {"cleaning", "models", "media", "nn"},
    "live": {"cleaning", "media"},
    "cli": {
        "web",
        "live",
        "training",
        "evaluation",
        "cleaning",
        "mixing",
        "corpora",
        "models",
        "media",
        "dsp",
    },
}
"""Room -> the rooms that it may import from; all of them may import from the files beside rooms."""


def imports(source: str) -> Iterator[str]:
    """The modules that a file imports, as dotted names; a relative one starts with a dot."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{name.name}" for name in node.names)


def trespasses(room: str, source: str) -> list[str]:
    """The imports of a file in `room` that lead where they may not."""
    allowed = ARROWS[room] | GROUND | {room, "__version__"}
    wrong = []
    for module in imports(source):
        top, _, rest = module.partition(".")
        if not top:
            wrong.append(f"{module}: every import is absolute")
        elif top == "audio_denoising" and rest.split(".")[0] not in allowed:
            wrong.append(f"{room} must not import {module}")
    return wrong


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = [path for path in FILES if path.relative_to(PACKAGE).parts[0] == room]
    assert files
    wrong = [(path.name, found) for path in files for found in trespasses(room, path.read_text())]
    assert not wrong


def test_every_file_lies_in_a_room() -> None:
    assert {path.relative_to(PACKAGE).parts[0] for path in FILES} == set(ARROWS)
    beside = {path.stem for path in PACKAGE.glob("*.py")}
    assert beside <= GROUND | {"__init__", "__main__"}


def test_the_files_beside_rooms_lean_on_no_room() -> None:
    for name in GROUND:
        for module in imports((PACKAGE / f"{name}.py").read_text()):
            top, _, rest = module.partition(".")
            assert top, f"{module}: every import is absolute"
            assert top != "audio_denoising" or rest.split(".")[0] in GROUND


def test_the_arrows_make_no_circle() -> None:
    list(TopologicalSorter(ARROWS).static_order())


@pytest.mark.parametrize(
    "line",
    [
        "from audio_denoising.training.trainer import train",
        "import audio_denoising.cli.app",
        "from audio_denoising import cleaning",
        "def f():\n    from ..cleaning import folder",
    ],
)
def test_an_arrow_that_is_not_allowed_is_found(line: str) -> None:
    assert trespasses("models", line)
