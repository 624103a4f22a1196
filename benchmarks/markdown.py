"""Writes a table of measurements as Markdown, for the documents and for the terminal."""

import re


def markdown_table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; a column of nothing but numbers and blanks is aligned to the right."""
    numeric = [all(re.fullmatch(r"-?[\d.]*", row[i]) for row in rows) for i in range(len(columns))]
    rule = ["---:" if right else "---" for right in numeric]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (columns, rule, *rows))
