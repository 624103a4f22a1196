"""The ablations of v5: their table."""

from __future__ import annotations

from benchmarks.v5_ablation import v5_ablation_table


def test_differences_are_taken_mixture_by_mixture() -> None:
    plain = [[2.0, 0.8, 15.0, 2.5], [3.0, 0.9, 10.0, 2.7]]
    better = [[2.2, 0.8, 14.0, 2.5], [3.0, 0.9, 9.0, 2.7]]
    table = v5_ablation_table({"judged": {"`--perceptual 0`": plain, "`--perceptual 1`": better}})
    assert table.splitlines()[2:] == [
        "| `--perceptual 0` | 2.500 | 0.8500 | 12.50 | 2.600 |",
        "| `--perceptual 1` | 2.600 (+0.100 ± 0.100) | 0.8500 | 11.50 (-1.00 ± 0.00) | 2.600 |",
    ]
