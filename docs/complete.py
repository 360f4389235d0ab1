"""For the site: each public name that the reference lacks is a warning, an error with --strict."""

import importlib
import logging
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

_LOG = logging.getLogger("mkdocs.hooks.complete")
_MODULES = (
    *("convnet", "convnet.ops", "convnet.nn", "convnet.nn.functional", "convnet.nn.init"),
    *("convnet.nn.utils", "convnet.optim", "convnet.optim.lr_scheduler", "convnet.data"),
    *("convnet.data.transforms", "convnet.train"),
)


def on_post_build(config: Any) -> None:
    """mkdocs calls this when the pages are written; a name's heading has the name as its id."""
    pages = Path(config["site_dir"], "api").glob("*.html")
    listed = {
        id(pkgutil.resolve_name(heading))
        for page in pages
        for heading in re.findall(r'<h\d id="(convnet\.[\w.]+)"', page.read_text("utf-8"))
    }
    for name in _MODULES:
        module = importlib.import_module(name)
        for public in _public(module):
            value = getattr(module, public)
            if not isinstance(value, (np.dtype, ModuleType)) and id(value) not in listed:
                _LOG.warning("%s.%s is in no page of the reference", name, public)


def _public(module: ModuleType) -> list[str]:
    """What it says that it exports, or what is defined in it."""
    if hasattr(module, "__all__"):
        return module.__all__
    found = vars(module).copy().items()
    return [n for n, v in found if getattr(v, "__module__", "") == module.__name__ and n[0] != "_"]
