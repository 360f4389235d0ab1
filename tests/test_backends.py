"""Backends hold the same functions with the same signatures, and every one has a bound."""

import inspect

import convnet
import pytest
from convnet import backend, ops
from convnet.backends import cpu, reference
from convnet.check import families, specs

FUNCTIONS = sorted(reference.__all__)


def parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_cpu_has_the_signature_of_the_reference(name):
    assert name in vars(cpu), f"backends/cpu.py lacks {name}"
    assert parameters(getattr(cpu, name)) == parameters(getattr(reference, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_has_a_spec_that_names_its_parameters(name):
    assert name in specs(), f"no family of convnet.check has an OpSpec for {name}"
    spec = specs()[name]
    names = set(inspect.signature(getattr(reference, name)).parameters)
    assert spec.outputs
    assert set(spec.outputs) <= names
    assert set(spec.updates) <= set(spec.outputs)


def test_no_spec_without_a_function():
    assert set(specs()) <= set(FUNCTIONS)


def test_families_are_the_same_on_every_floor():
    for family, module in families().items():
        functions = {
            name for name in FUNCTIONS if getattr(reference, name).__module__.endswith(family)
        }
        assert set(module.SPECS) == functions, family


def test_every_op_has_a_case():
    ops_with_cases = {case.op for module in families().values() for case in module.CASES}
    missing = set(ops.__all__) - ops_with_cases - {"conv2d_algorithm"}
    assert not missing


def test_what_a_backend_lacks_is_not_implemented(monkeypatch):
    import numpy as np

    monkeypatch.setitem(backend._modules, "cpu", backend._module("cpu"))
    monkeypatch.delattr(cpu, "relu")
    with pytest.raises(NotImplementedError, match="backend 'cpu' has no relu"):
        ops.relu(np.ones(3))
    with convnet.cross_check(), pytest.raises(NotImplementedError, match="'cpu' has no relu"):
        ops.relu(np.ones(3))
    with pytest.raises(AttributeError, match=r"convnet\.backends\.cpu"):
        _ = cpu.no_such_thing


def test_arrays_choose_the_backend_and_a_backend_its_arrays():
    import numpy as np
    from convnet.gpu import DeviceArray

    x = np.ones(3, np.float32)
    on_gpu = DeviceArray(None, 0, (3,), (4,), x.dtype)
    with (
        convnet.use_backend("cuda"),
        pytest.raises(TypeError, match="'cuda' takes arrays on a GPU"),
    ):
        ops.relu(x)
    for name in ("cpu", "reference"):
        with (
            convnet.use_backend(name),
            pytest.raises(TypeError, match=f"backend '{name}' takes NumPy arrays"),
        ):
            backend.active(on_gpu)
    for call in (
        lambda: ops.relu_backward(x, on_gpu),
        lambda: ops.relu_backward(on_gpu, x),
        lambda: ops.mse_loss(x, on_gpu),
        lambda: ops.matmul(x, on_gpu),
        lambda: ops.relu(x, out=on_gpu),
        lambda: ops.dropout_backward(on_gpu, x > 0, 0.5),
    ):
        with pytest.raises(TypeError, match=r"on the [CG]PU, and .* on the [CG]PU"):
            call()
