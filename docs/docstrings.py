"""For the site: docstrings are plain text, their formulas and lists of shapes stay as written."""

import re
from typing import Any

from griffe import Extension

# A paragraph with one of these is a formula, a list of arguments or an example.
_WRITTEN = re.compile(r"^    | = | : | -> |\*|^\S+\(.*\)$", re.MULTILINE)


def as_markdown(text: str) -> str:
    """The docstring with what must keep its lines in blocks of its own."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if parts and _WRITTEN.search(paragraph):
            parts.append(f"```text\n{paragraph}\n```")
        else:
            parts.append(re.sub(r"([*_<\[\]])", r"\\\1", paragraph))
    return "\n\n".join(parts)


class Docstrings(Extension):
    """Turns every docstring of the package into Markdown."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Called once for every object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
