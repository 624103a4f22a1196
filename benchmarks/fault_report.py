"""The table of what training runs have got over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.measuring import markdown_table


def faults_table(results: Mapping[str, Any]) -> str:
    """Kills by signal, then every other fault with its verdict, as Markdown.

    Args:
        results: the content of ``faults.json``.
    """
    during = results["of_these_during_a_write"]
    kills = [
        [name, str(count), str(during.get(name, 0))]
        for name, count in results["kills_by_signal"].items()
    ]
    cases = [[case["case"], case["verdict"], case["seen"]] for case in results["cases"]]
    return "\n\n".join(
        (
            markdown_table(["signal", "kills", "of these during a write"], kills),
            markdown_table(["what befell the run", "verdict", "what was seen"], cases),
        )
    )
