"""README's examples run and print what README says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
# A block of Python, and the block of output that follows it, if any.
EXAMPLE = re.compile(
    r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


def examples():
    for match in EXAMPLE.finditer(README):
        heading = re.findall(r"^#+ (.*)$", README[: match.start()], re.MULTILINE)[-1]
        yield pytest.param(match[1], match[2], id=heading.replace(" ", "_"))


@pytest.mark.parametrize(("code", "output"), list(examples()))
def test_example_prints_what_readme_says(code, output):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert printed.getvalue() == (output or "")


def test_every_block_of_python_is_an_example():
    assert README.count("```python") == len(list(examples())) > 0


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_link_leads_somewhere(path):
    assert (Path(__file__).parents[1] / path).exists()
