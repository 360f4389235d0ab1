"""Every case of convnet.check on the GPU, at its real sizes, against the reference in float64."""

import pytest
from convnet.check import runner

RUNS = {}
for run in runner.plan(backends=("cuda",)):
    if run.backend == "cuda":
        RUNS.setdefault((run.family, run.case.op, run.dtype), []).append(run)


@pytest.mark.parametrize(("family", "op", "dtype"), RUNS, ids=lambda v: v)
def test_cases(family, op, dtype):
    """Within the bounds, the same bits when repeated, in any layout, and for an image alone."""
    failures = [
        failure
        for run in RUNS[family, op, dtype]
        for failure in [runner.run_one(run)[1]]
        if failure
    ]
    assert not failures, f"{len(failures)} failures\n" + "\n\n".join(failures[:3])
