"""Training scripts written for torch, run as they are and with their imports changed."""

import re
from pathlib import Path

import convnet
import numpy as np
import pytest

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))
IMPORTS = [
    (r"^(from|import) torch\.utils\.data\b", r"\1 convnet.data"),
    (r"^import torch$", "import convnet as torch"),
    (r"^(from|import) torch\b", r"\1 convnet"),
]


def run(path, source, dtype, weights=None):
    """(losses, initial weights) of a script."""
    names = {"__name__": path.stem}
    exec(compile(source, str(path), "exec"), names)
    model = names["make"]()
    if weights is not None:
        model.load_state_dict(weights)
    if dtype == "float64":
        model.double()
    before = {k: np.array(v.detach().numpy()) for k, v in model.state_dict().items()}
    return names["train"](model, getattr(names["torch"], dtype)), before


def for_convnet(source):
    for pattern, replacement in IMPORTS:
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    return source


# Winograd's rounding may move an element across a ReLU's bend; from there the runs drift apart.
@pytest.mark.parametrize(
    ("dtype", "precision", "bound"),
    [("float32", "highest", 1e-5), ("float32", "high", 5e-3), ("float64", "high", 1e-12)],
)
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_losses_are_torchs(path, dtype, precision, bound):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    source = path.read_text()
    changed = for_convnet(source)
    assert not re.search(r"^(import|from) torch", changed, re.MULTILINE)
    torch.manual_seed(0)
    theirs, weights = run(path, source, dtype)
    with convnet.set_num_threads(1), convnet.set_precision(precision):
        ours, _ = run(path, changed, dtype, weights)
    assert len(ours) >= 30
    np.testing.assert_allclose(ours, theirs, rtol=bound, atol=bound)
    assert ours[0] != ours[-1]
