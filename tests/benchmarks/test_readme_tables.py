"""The documents' tables are computed from the committed results, and only inside the marks."""

import json

import pytest

from benchmarks.readme import HISTORIES, RESULTS, fill

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
