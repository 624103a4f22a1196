"""The documents' tables are computed from the committed results, and only inside the marks."""

import json

import pytest

from benchmarks.tables import clean_table, fill, quality_table

RESULTS = {
    "mixtures": [
        {
            "snr_db": snr_db,
            "scores": {
                "noisy input": {"pesq_wb": 1.0, "stoi": 0.5, "si_sdr": float(snr_db)},
                "v4": {"pesq_wb": 2.0, "stoi": 0.75, "si_sdr": snr_db + gain},
            },
            "clean_through": {"v4": 20.0 + gain},
        }
        for snr_db, gain in ((0, 8.0), (0, 6.0), (5, 4.0))
    ]
}


def test_the_quality_table_holds_the_means_of_each_level():
    table = quality_table(RESULTS).splitlines()
    assert table[0] == "| metric | model | 0 dB | 5 dB | mean |"
    assert table[1] == "| --- | --- | ---: | ---: | ---: |"
    assert table[2] == "| SI-SDR, dB | noisy input | 0.0 | 5.0 | 1.7 |"
    assert table[3] == "| SI-SDR, dB | v4 | 7.0 | 9.0 | 7.7 |"
    assert table[5] == "| PESQ-WB | v4 | 2.00 | 2.00 | 2.00 |"
    assert table[7] == "| STOI | v4 | 0.750 | 0.750 | 0.750 |"


def test_the_clean_table_holds_mean_and_worst_case():
    assert clean_table(RESULTS).splitlines()[2] == "| v4 | 26.0 | 24.0 |"


def test_only_what_is_between_the_marks_is_replaced(tmp_path):
    (tmp_path / "quality.json").write_text(json.dumps(RESULTS))
    (tmp_path / "sample_output.txt").write_text("v4, cpu\n")
    document = (
        "before\n<!-- measured: clean-speech -->\nold\n<!-- end -->\nbetween\n"
        "<!-- measured: sample-output -->\n<!-- end -->\nafter\n"
    )
    filled = fill(document, tmp_path)
    assert filled.startswith("before\n<!-- measured: clean-speech -->\n\n| model |")
    assert "| v4 | 26.0 | 24.0 |\n\n<!-- end -->\nbetween\n" in filled
    assert filled.endswith("\n```\nv4, cpu\n```\n\n<!-- end -->\nafter\n")
    assert fill(filled, tmp_path) == filled


def test_a_block_without_results_says_so_and_an_unknown_one_is_refused(tmp_path):
    assert "*Not measured yet.*" in fill("<!-- measured: quality -->\n<!-- end -->", tmp_path)
    with pytest.raises(KeyError):
        fill("<!-- measured: luck -->\n<!-- end -->", tmp_path)
