"""The quality tables hold the means, intervals and worst cases of the results."""

from benchmarks.quality_tables import (
    clean_table,
    levels_table,
    noise_table,
    quality_table,
    second_table,
    unseen_table,
)


def means(ratio):
    return {
        "noisy input": {"si_sdr": [5.0, 4.0, 6.0], "pesq_wb": [1.5, 1.4, 1.6], "stoi": [0.8] * 3},
        "v4": {"si_sdr": [ratio, ratio - 1, ratio + 1], "pesq_wb": [2.0] * 3, "stoi": [0.9] * 3},
    }


PART = {
    "count": 2,
    "all": means(12.0),
    "by_snr": {"0": means(9.0), "15": means(15.0)},
    "by_noise": {"dog bark": means(11.0)},
}
RESULTS = {
    "metrics": ["pesq_wb", "si_sdr"],
    "real_time_factor": {"v4": 0.0456},
    "summary": {
        "held-out": PART,
        "unseen noise": {**PART, "by_noise": {"modem": means(7.0)}},
        "clean speech": {"count": 2, "all": {"v4": means(20.0)["v4"]}, "by_snr": {}},
    },
    "items": [{"part": "clean speech", "scores": {"v4": [4.0, ratio]}} for ratio in (30.04, 9.96)],
}


def test_all_metrics_stand_in_one_row_with_the_speed():
    for table in (quality_table(RESULTS), unseen_table(RESULTS)):
        head, rule, noisy, ours = (line.split(" | ") for line in table.splitlines())
        assert head[0] == "| model" and head[1] == "PESQ-WB" and head[-1] == "RTF |"
        assert "SI-SDR, dB" in head and "LSD, dB" in head
        assert rule[1] == "---:"
        assert noisy[1] == "1.50" and ours[head.index("SI-SDR, dB")] == "12.0"
        assert ours[-1] == "0.046 |"


def test_levels_come_with_the_interval_of_the_mean():
    lines = levels_table(RESULTS).splitlines()
    assert lines[0] == "| metric | model | 0 dB | 15 dB | mean | 95 % interval |"
    assert lines[3] == "| SI-SDR, dB | v4 | 9.0 | 15.0 | 12.0 | 11.0 to 13.0 |"
    assert lines[5] == "| PESQ-WB | v4 | 2.00 | 2.00 | 2.00 | 2.00 to 2.00 |"


def test_each_kind_of_noise_has_a_row():
    lines = noise_table(RESULTS).splitlines()
    assert lines[0] == "| part | noise | noisy input | v4 |"
    assert lines[2:] == [
        "| held-out | dog bark | 5.0 | 11.0 |",
        "| unseen noise | modem | 5.0 | 7.0 |",
    ]


def test_the_clean_table_holds_means_and_the_worst_case():
    assert clean_table(RESULTS).splitlines()[2] == "| v4 | 20.0 | 2.00 | 0.900 | 10.0 |"


def test_the_second_list_has_its_parts_one_below_the_other():
    assert second_table(RESULTS) == "*Not measured yet.*"
    summary = dict.fromkeys(("other domain", "in a room", "quiet"), PART)
    lines = second_table({**RESULTS, "summary": summary}).splitlines()
    assert lines[0] == "| part | model | SI-SDR, dB | PESQ-WB | STOI |"
    assert lines[3] == "| other domain | v4 | 12.0 | 2.00 | 0.900 |" and len(lines) == 8
