"""The documents' Python runs, and what they name is there."""

import re
from pathlib import Path

import pytest

from audio_denoising import nn

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
SNIPPETS = [
    pytest.param(snippet, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, snippet in enumerate(
        re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    )
]


def test_there_is_something_to_run():
    assert SNIPPETS


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python_snippets_run(snippet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "docs", "exec"), {"__name__": "docs"})


def test_the_derivations_cover_every_layer_loss_and_optimiser():
    text = (DOCS / "backprop.md").read_text(encoding="utf-8")
    kinds = (nn.Module, nn.Loss, nn.Optimiser)
    public = [getattr(nn, name) for name in nn.__all__]
    classes = [c for c in public if isinstance(c, type) and issubclass(c, kinds) and c not in kinds]
    assert len(classes) >= 11
    assert not [c.__name__ for c in classes if c.__name__ not in text]


def test_the_reading_order_names_files_that_are_there():
    text = (DOCS / "reading.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", text)
    assert len(named) > 40
    package = DOCS.parent / "src" / "audio_denoising"
    assert not [name for name in named if not (package / name).is_file()]
