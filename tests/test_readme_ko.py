"""README.ko.md says in Korean what README.md says: a change to one asks for the same in the other.

The prose itself cannot be compared, so its bones are: the order of paragraphs, commands, tables
and headings, and in every section the links, the words in code quotes and the numbers. Comments of
commands and words of tables are translated; commands, programs and digits are the same.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGLISH, KOREAN = "README.md", "README.ko.md"

_BLOCK = re.compile(
    r"^<!-- measured: .*?^<!-- end -->$|^```.*?^```$|^\S.*?(?=\n\n|\n```|\n<!--|\Z)",
    re.DOTALL | re.MULTILINE,
)
_LINK = re.compile(r"\]\(([^)]+)\)")


def blocks(text: str) -> list[str]:
    """The fences, measured blocks, headings, pictures, tables, lists and paragraphs, in order."""
    return _BLOCK.findall(text.rstrip())


def bones(block: str) -> str:
    """What both languages share of a block: commands and digits, else its kind."""
    if block.startswith("```python"):
        return block
    if block.startswith("```"):
        return "\n".join(re.sub(" +#.*", " #", line) for line in block.splitlines())
    if block.startswith("<!--"):
        return " ".join(["measured", *sorted(re.findall(r"\d+(?:\.\d+)?", block))])
    if block.startswith("#"):
        return f"heading {block.index(' ')}"
    if block.startswith("|"):
        return f"table of {len(block.splitlines())} rows"
    if block.startswith("- "):
        return f"list of {len(re.findall('^- ', block, re.MULTILINE))} points"
    return "picture" if block.startswith("!") else "paragraph"


def prose(document: str) -> list[str]:
    """The sections of a document, each as its text outside fences and measured blocks."""
    sections = [""]
    for block in blocks((ROOT / document).read_text(encoding="utf-8")):
        if block.startswith("## "):
            sections.append(block)
        elif not block.startswith(("```", "<!--")):
            sections[-1] += f"\n\n{block}"
    return sections


SECTIONS = list(zip(prose(ENGLISH), prose(KOREAN), strict=False))
sections = pytest.mark.parametrize(("english", "korean"), SECTIONS, ids=range(len(SECTIONS)))


def test_both_have_the_same_blocks_in_the_same_order():
    english, korean = (
        [bones(block) for block in blocks((ROOT / name).read_text(encoding="utf-8"))]
        for name in (ENGLISH, KOREAN)
    )
    assert korean == english
    assert sum(block.startswith("```") for block in english) > 5
    assert sum(block.startswith("measured") for block in english) > 3


def test_each_links_to_the_other_under_its_title():
    for name, other in ((ENGLISH, KOREAN), (KOREAN, ENGLISH)):
        title, link = blocks((ROOT / name).read_text(encoding="utf-8"))[:2]
        assert title.startswith("# ")
        assert _LINK.findall(link) == [other]


@sections
def test_sections_have_the_same_links(english, korean):
    same = [
        Counter(link for link in _LINK.findall(text) if link not in (ENGLISH, KOREAN))
        for text in (english, korean)
    ]
    assert same[1] == same[0]


@sections
def test_sections_quote_the_same_code(english, korean):
    assert Counter(re.findall(r"`[^`]+`", korean)) == Counter(re.findall(r"`[^`]+`", english))


@sections
def test_every_number_of_a_section_is_in_its_translation(english, korean):
    numbers = [Counter(re.findall(r"\d+(?:\.\d+)?", text)) for text in (english, korean)]
    assert not numbers[0] - numbers[1]


@sections
def test_the_translation_is_korean(english, korean):
    words = re.sub(r"`[^`]+`|\]\([^)]+\)", "", korean)
    assert len(re.findall("[가-힣]", words)) > len(re.findall("[A-Za-z]", words))
