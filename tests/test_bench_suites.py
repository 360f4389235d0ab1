"""Layer tables, suites, and the parts of results that are checked."""

import numpy as np
import pytest
from convnet import ops
from convnet.benchmark import shape_files, workloads
from convnet.benchmark.suites import SUITES, Request, tasks_of
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import conv, cut, gemm

HEADER = ",".join(shape_files.CONV)
GEMM = ",".join(shape_files.GEMM)
LAYER = "a,1,4,9,9,8,3,3,1,1,1,1,1,1,1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a header and at least one layer"),
        ("# nothing\n", "expected a header and at least one layer"),
        (HEADER, "expected a header and at least one layer"),
        ("name,count,C,depth", "line 1, column 4: expected a header of name,count,C,H,W.*'depth'"),
        ("name,M,N,M,transA,transB", "line 1, column 4: expected a header of name,M,N,K.*'M'"),
        ("name,M,N,K,transA", "line 1, column 6: the header lacks transB"),
        (f"# x\n{HEADER}\n{LAYER},7", "line 3, column 16: expected 15 cells.*got 16"),
        (f"{HEADER}\n{LAYER[:-2]}", "line 2, column 15: expected 15 cells.*got 14"),
        (f"{HEADER}\n{LAYER}\n\n,1,4", "line 4, column 4: expected 15 cells"),
        (f"{HEADER}\n,{LAYER[2:]}", r"line 2, column 1 \(name\): expected a name"),
        (f"{HEADER}\n{LAYER.replace('8', 'x')}", r"line 2, column 6 \(K\): .*got 'x'"),
        (f"{HEADER}\n{LAYER.replace('8', '-8')}", r"column 6 \(K\): expected a whole number"),
        (f"{HEADER}\n{LAYER.replace('8', '1.5')}", r"column 6 \(K\): .*at least 1, got '1.5'"),
        (f"{HEADER}\n{LAYER.replace('8', '٣')}", r"column 6 \(K\): expected a whole number"),
        (f"{HEADER}\n{LAYER[:-1]}0", r"column 15 \(groups\): .*at least 1, got '0'"),
        (f"{HEADER}\n{LAYER[:-1]}3", "line 2: no such convolution: C=4 and K=8.*3 groups"),
        (f"{HEADER}\na,1,4,2,2,8,9,9,1,1,0,0,1,1,1", "line 2: no such convolution: "),
        (f"{GEMM}\na,1,2,3,0,1\nb,1,2,3,yes,0", r"line 3, column 5 \(transA\): .*got 'yes'"),
        (f"{GEMM}\na,99999999999,2,3,0,1", r"line 2, column 2 \(M\): expected"),
    ],
)
def test_malformed_table(text, message, tmp_path):
    path = tmp_path / "layers.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        shape_files.read(path)
    assert str(path) in str(caught.value)


def test_table_that_is_no_text(tmp_path):
    path = tmp_path / "layers.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="expected text in UTF-8"):
        shape_files.read(path)


def test_columns_may_stand_in_any_order(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("K,N,M,name,transB,transA\n3,2,1,a,0,1\n")
    row = {"K": 3, "N": 2, "M": 1, "name": "a", "transB": 0, "transA": 1}
    assert shape_files.read(path) == ("gemm", [row])
    assert [t.suite for t in tasks_of((), [path], Request())] == ["mine"]


def test_unknown_suite():
    with pytest.raises(ValueError, match=r"expected one of gemm, mnist, .*got 'alexnet'"):
        tasks_of(["alexnet"], (), Request())


@pytest.mark.parametrize("suite", SUITES)
def test_suite_names_each_task_once(suite):
    tasks = tasks_of([suite], (), Request())
    assert len({(t.suite, t.name, t.direction) for t in tasks}) == len(tasks) > 0
    assert all(t.count >= 1 for t in tasks)
    for task in tasks:
        flops, moved = workloads.of(task).cost(task)
        assert flops >= 0
        assert moved > 0


def test_network_has_its_number_of_layers():
    counts = {}
    for suite in ("vgg16", "resnet50", "mobilenet"):
        tasks = tasks_of([suite], (), Request(directions=("forward",)))
        counts[suite] = sum(task.count for task in tasks)
    assert counts == {"vgg16": 13, "resnet50": 53, "mobilenet": 27 + 52}


def test_macs_of_vgg16_and_resnet50():
    """15.3 and 4.1 billion multiply-adds an image, as published, less the linear layers."""
    for suite, macs in (("vgg16", 15.35e9), ("resnet50", 4.09e9)):
        tasks = tasks_of([suite], (), Request(directions=("forward",), batch=1))
        total = sum(t.count * workloads.of(t).cost(t)[0] / 2 for t in tasks)
        assert total == pytest.approx(macs, rel=0.01)


def layer(direction, dtype="float32", **changed):
    row = dict(zip(shape_files.CONV[2:], (4, 9, 11, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1), strict=True))
    return Task("test", "layer", "conv", direction, dtype, {"N": 3, **row, **changed})


LAYERS = [
    {},
    {"stride_h": 2, "stride_w": 3, "groups": 2},
    {"R": 1, "S": 1, "pad_h": 0, "pad_w": 0, "stride_h": 2, "stride_w": 2},
    {"C": 6, "K": 6, "groups": 6},
    {"R": 5, "S": 4, "pad_h": 4, "pad_w": 0, "dilation_h": 2},
    {"H": 40, "W": 40, "stride_h": 4, "stride_w": 1, "R": 2},
]


def run_conv(task, arrays):
    arguments = conv.arguments(task)
    if task.direction == "forward":
        return [ops.conv2d(arrays["x"], arrays["w"], **arguments)]
    return list(ops.conv2d_backward(arrays["dy"], arrays["x"], arrays["w"], **arguments))


@pytest.mark.parametrize("changed", LAYERS, ids=str)
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_expected_parts_are_those_of_the_whole_result(changed, direction, dtype):
    task = layer(direction, dtype, **changed)
    arrays = conv.inputs(task)
    outputs = run_conv(task, arrays)
    expected = conv.expectations(task, arrays)
    assert {e.output for e in expected} == set(range(len(outputs)))
    for e in expected:
        got = cut(outputs[e.output], e.box)
        assert got.shape == e.values.shape
        assert (np.abs(got - e.values) <= e.allowed).all()
        assert (np.abs(1.01 * got - e.values) > e.allowed).any(), "a bound that holds for anything"


@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_expected_parts_of_a_product(trans_a, trans_b):
    params = {"M": 9, "N": 20, "K": 30, "transA": trans_a, "transB": trans_b}
    task = Task("test", "product", "gemm", "forward", "float32", params, images=False)
    arrays = gemm.inputs(task)
    y = ops.matmul(arrays["a"], arrays["b"])
    for e in gemm.expectations(task, arrays):
        assert (np.abs(cut(y, e.box) - e.values) <= e.allowed).all()
        assert (np.abs(1.01 * cut(y, e.box) - e.values) > e.allowed).any()


def test_inputs_repeat_after_a_prime_number_of_values():
    a = workloads.normal((3, 700, 700), "float32", 1)
    assert a.dtype == np.float32
    assert a.flags.c_contiguous
    assert np.array_equal(a, workloads.normal((3, 700, 700), "float32", 1))
    assert not np.array_equal(a[0], a[1])
    assert not np.array_equal(a, workloads.normal((3, 700, 700), "float32", 2))
