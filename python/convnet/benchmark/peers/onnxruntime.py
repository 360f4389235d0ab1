"""ONNX Runtime on the CPU: a graph of one node a task, NumPy arrays in and out. No gradients."""

from typing import Any

import onnxruntime
from onnx import TensorProto, helper

from convnet.benchmark import workloads
from convnet.benchmark.peers import Arrays, Run, Unsupported, cpu_only
from convnet.benchmark.tasks import Task
from convnet.benchmark.workloads import conv, pool

LAYOUTS = ("nchw",)
_OPSET = 20
_options = onnxruntime.SessionOptions()
_TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
_NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "gelu": ("Gelu", {}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "softmax": ("Softmax", {"axis": -1}),
    "log_softmax": ("LogSoftmax", {"axis": -1}),
    "global_avg_pool": ("GlobalAveragePool", {}),
}


def start(threads: int, precision: str, device: str) -> None:
    cpu_only(device)
    _options.intra_op_num_threads = threads
    _options.inter_op_num_threads = 1
    _options.log_severity_level = 3


def version() -> str:
    return onnxruntime.__version__


def array(output: Any) -> Any:
    return output


def _run(arrays: Arrays, kind: str, **attributes: Any) -> Run:
    """A session on one node, whose inputs are the arrays in order."""
    values = [
        helper.make_tensor_value_info(name, _TYPES[str(a.dtype)], a.shape)
        for name, a in arrays.items()
    ]
    dtype = _TYPES[str(next(iter(arrays.values())).dtype)]
    node = helper.make_node(kind, list(arrays), ["y"], **attributes)
    outputs = [helper.make_tensor_value_info("y", dtype, None)]
    graph = helper.make_graph([node], "task", values, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), _options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise Unsupported(str(error).splitlines()[0]) from None
    return lambda: session.run(None, arrays)


def _conv(task: Task, a: Arrays) -> Run:
    arguments = conv.arguments(task)
    return _run(
        a,
        "Conv",
        strides=arguments["stride"],
        pads=arguments["padding"] * 2,
        dilations=arguments["dilation"],
        group=arguments["groups"],
    )


def _gemm(task: Task, arrays: Arrays) -> Run:
    trans_a, trans_b = task.params["transA"], task.params["transB"]
    stored = {
        "a": arrays["a"].T if trans_a else arrays["a"],
        "b": arrays["b"].T if trans_b else arrays["b"],
    }
    return _run(stored, "Gemm", transA=trans_a, transB=trans_b)


def _pool(task: Task, a: Arrays) -> Run:
    size, stride, padding = pool.sizes(task).values()
    common = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
    if task.op == "max_pool":
        return _run(a, "MaxPool", **common)
    return _run(a, "AveragePool", count_include_pad=1, **common)


def prepare(task: Task, inputs: Arrays, layout: str) -> Run:
    if task.direction != "forward":
        raise Unsupported("no gradients")
    if task.op in _NODES:
        kind, attributes = _NODES[task.op]
        return _run({"x": inputs["x"]}, kind, **attributes)
    made = {"conv": _conv, "gemm": _gemm, "pool": _pool}.get(workloads.FAMILIES[task.op])
    if made is None:
        raise Unsupported(f"no {task.op}")
    return made(task, inputs)


def algorithm(task: Task, layout: str) -> str:
    return ""
