"""Writes what a benchmark measured as JSON: whole or not at all, a list's entry a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from audio_denoising.files import save_whole


def write(results: dict[str, Any], path: Path) -> None:
    """Writes the results; where a value is a list of dictionaries, each has a line of its own."""

    def text(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return (
                "[\n  "
                + ",\n  ".join(json.dumps(_rounded(each), ensure_ascii=False) for each in value)
                + "\n ]"
            )
        return json.dumps(_rounded(value))

    lines = [f" {json.dumps(key)}: {text(value)}" for key, value in results.items()]
    content = "{\n" + ",\n".join(lines) + "\n}\n"
    save_whole(path, lambda temporary: temporary.write_text(content, encoding="utf-8"))


def _rounded(value: Any) -> Any:
    """Five digits are more than a clock is worth."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
