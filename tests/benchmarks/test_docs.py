"""The documents' Python runs, and what they name is there."""

import json
import re
import shutil
from pathlib import Path

import pytest

from audio_denoising import nn
from audio_denoising.evaluation.scores import METRICS
from audio_denoising.models.versions import DEFAULT
from benchmarks import first_command
from benchmarks.quality_tables import beside_v4_table, quality_table
from benchmarks.readme import HISTORIES, RESULTS, fill

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


def test_the_first_command_leaves_its_words_and_a_picture(tmp_path, monkeypatch):
    for folder in ("examples", first_command.PICTURE.parent, RESULTS):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(DOCS.parent / first_command.NOISY, tmp_path / "examples")
    monkeypatch.setattr(first_command, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(DOCS.parent / "src"))
    first_command.main()
    output, summary = (tmp_path / RESULTS / "sample_output.txt").read_text().splitlines()
    assert output == str(first_command.CLEAN) and f"model {DEFAULT}-" in summary
    assert (tmp_path / first_command.PICTURE).read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in (tmp_path / "examples").iterdir()] == [first_command.NOISY.name]


# Their tables are computed from the committed results, and only inside the marks

QUALITY = {
    "metrics": ["si_sdr"],
    "summary": {"clean speech": {"all": {"v4": {"si_sdr": [26.0, 24.0, 28.0]}}}},
    "items": [{"part": "clean speech", "scores": {"v4": [24.0]}}],
}


def test_only_what_is_between_the_marks_is_replaced(tmp_path):
    (tmp_path / RESULTS).mkdir(parents=True)
    (tmp_path / RESULTS / "quality.json").write_text(json.dumps(QUALITY))
    (tmp_path / RESULTS / "sample_output.txt").write_text("v4, cpu\n")
    document = (
        "before\n<!-- measured: clean-speech -->\nold\n<!-- end -->\nbetween\n"
        "<!-- measured: sample-output -->\n<!-- end -->\nafter\n"
    )
    filled = fill(document, tmp_path)
    assert filled.startswith("before\n<!-- measured: clean-speech -->\n\n| model |")
    assert "| v4 | 26.0 |  |  | 24.0 |\n\n<!-- end -->\nbetween\n" in filled
    assert filled.endswith("\n```\nv4, cpu\n```\n\n<!-- end -->\nafter\n")
    assert fill(filled, tmp_path) == filled


def test_a_block_without_results_says_so_and_an_unknown_one_is_refused(tmp_path):
    (tmp_path / HISTORIES).mkdir(parents=True)
    for name in ("quality", "training", "sample-output"):
        assert "*Not measured yet.*" in fill(f"<!-- measured: {name} -->\n<!-- end -->", tmp_path)
    with pytest.raises(KeyError):
        fill("<!-- measured: luck -->\n<!-- end -->", tmp_path)


def test_the_default_stands_first_and_bold_and_of_two_the_better_is_bold():
    scores = {"noisy input": 1.0, "v4": 2.0, "v5": 1.9, "other": 2.5}
    means = {name: {key: [of, of, of] for key in METRICS} for name, of in scores.items()}
    parts = ("held-out", "unseen noise", "other domain", "in a room", "quiet", "clean speech")
    results = {"summary": {part: {"all": means} for part in parts}, "real_time_factor": {}}
    rows = quality_table(results).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["noisy input", "**v5**", "v4", "other"]
    assert "| **v5** | **1.90** |" in rows[1]
    assert beside_v4_table(results).splitlines()[2].startswith("| held-out | **2.00** | 1.90 |")
