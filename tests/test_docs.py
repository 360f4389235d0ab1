"""The site's pages: their programs run and print what they say, their names and links exist."""

import contextlib
import importlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
# A block of Python, and the block of output that follows it, if any.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
PROGRAMS = [p for p in PAGES if BLOCK.search(p.read_text())]


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda p: p.stem)
def test_programs_of_a_page_print_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for code, output in BLOCK.findall(page.read_text()):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page.name, "exec"), names)
        assert printed.getvalue() == output


def test_there_are_programs():
    assert {p.stem for p in PROGRAMS} >= {"index", "training", "from-numpy", "from-pytorch"}


LINK = re.compile(r"\]\((?!http)([^)#]*)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        assert not link or (DOCS / link).exists(), link


def test_every_name_of_the_table_exists():
    prefix, seen = "", 0
    for line in (DOCS / "from-pytorch.md").read_text().splitlines():
        cells = [c.strip() for c in line.strip("|").split(" | ")]
        if len(cells) != 2 or set(line) <= set("|- "):
            continue
        same = cells[1].startswith("the same") and cells[0].startswith(("`nn.", "`optim."))
        prefix = ""
        for name in re.findall(r"`([\w.]+)", cells[0] if same else cells[1]):
            head, _, last = name.rpartition(".")
            if head in ("np", "t", "model", "") and not (same and not head):
                continue
            prefix = head or prefix
            module = prefix.removeprefix("convnet").lstrip(".")
            assert hasattr(
                importlib.import_module(f"convnet.{module}" if module else "convnet"), last
            ), name
            seen += 1
    assert seen > 60


def test_every_example_has_its_section_and_picture():
    text = (DOCS / "examples.md").read_text()
    examples = [p.stem for p in (DOCS.parent / "examples").glob("*.py") if p.stem != "common"]
    assert len(examples) >= 12
    for name in examples:
        assert f"## {name}\n" in text
        assert f"pictures/{name}.png" in text
    for picture in (DOCS / "pictures").glob("*.png"):
        assert picture.stat().st_size <= 80_000, picture
