"""The package as it is installed: files, requirements, stubs, names, and a light import."""

import ast
import importlib
import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path

import convnet
import pytest
from convnet import ops
from convnet.backends import cpu
from public_names import CLASSES, CONVNET, OPS

ROOT = Path(__file__).parents[1]
STUBS = ROOT / "src" / "kernels"
MODULES = [f"{level}_{dtype}" for level in cpu.usable_levels() for dtype in ("f32", "f64")]


@pytest.fixture
def distribution():
    """The installed distribution, if it is what `import convnet` finds."""
    try:
        found = importlib.metadata.distribution("convnet-kernels")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("convnet runs from its source tree, not installed")
    return found


def requirements(distribution, extra=None):
    """Names of what is required: always, or by one extra."""
    lines = [line.partition(";") for line in distribution.requires or []]
    wanted = f"extra == '{extra}'" if extra else ""
    return {
        re.match(r"[\w-]+", name).group().lower()
        for name, _, marker in lines
        if marker.strip().replace('"', "'") == wanted
    }


def test_version_is_the_distributions(distribution):
    assert distribution.version == convnet.__version__


def test_changelog_knows_the_version():
    assert f"## [{convnet.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_nothing_is_required_but_numpy_and_safetensors(distribution):
    assert requirements(distribution) == {"numpy", "safetensors"}
    extras = {"demo", "test", "examples", "docs", "bench", "peers", "cuda", "dev"}
    assert set(distribution.metadata.get_all("Provides-Extra")) == extras
    assert {"torch", "onnxruntime", "scipy", "onnx"} <= requirements(distribution, "peers")


def test_installed_files(distribution):
    names = [str(file) for file in distribution.files]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    sources = (".pyx", ".pxi", ".c", ".h")
    assert not [name for name in names if name.endswith(sources)]
    size = sum(file.locate().stat().st_size for file in distribution.files if file.suffix == ".so")
    assert size < 8_200_000


def test_is_typed():
    assert (Path(convnet.__file__).parent / "py.typed").is_file()


def stub_functions(path):
    """Function name -> its parameters' names, in a stub."""
    tree = ast.parse(path.read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name: [a.arg for a in f.args.args] for f in functions}


def compiled_functions(module):
    return {
        name: list(inspect.signature(value).parameters)
        for name, value in vars(module).items()
        if callable(value)
    }


@pytest.mark.parametrize("name", [*MODULES, "arrays", "cpu", "memory"])
def test_stub_holds_the_functions_of_the_compiled_module(name):
    stub = STUBS / ("kernels.pyi" if name in MODULES else f"{name}.pyi")
    module = importlib.import_module(f"convnet.kernels.{name}")
    assert stub_functions(stub) == compiled_functions(module)


def test_stubs_are_installed_beside_their_modules(distribution):
    names = {str(file) for file in distribution.files}
    built = [f"{level}_{dtype}" for level in cpu.built_levels() for dtype in ("f32", "f64")]
    assert {f"convnet/kernels/{name}.pyi" for name in [*built, "arrays", "cpu", "memory"]} <= names


LIGHT = """
import sys
import numpy
before = set(sys.modules)
import convnet.ops
print(*sorted(set(sys.modules) - before))
"""


def test_import_loads_nothing_but_the_package_and_numpy():
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIGHT], capture_output=True, text=True, check=True
    )
    modules = run.stdout.split()
    assert "convnet.ops" in modules
    foreign = {m.partition(".")[0] for m in modules} - set(sys.stdlib_module_names) - {"convnet"}
    # What every module compiled by Cython makes in memory.
    foreign = {m for m in foreign if m != "cython_runtime" and not m.startswith("_cython_")}
    assert not foreign, "modules outside NumPy, the standard library and convnet"
    heavy = {"argparse", "asyncio", "concurrent", "email", "multiprocessing", "unittest"}
    assert not heavy & set(modules)
    assert not {f"convnet.{m}" for m in ("check", "cli", "train", "nn", "data")} & set(modules)


def parameters(function):
    """The signature without annotations."""
    signature = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))[1:-1]


@pytest.mark.parametrize("name", OPS)
def test_op_is_public(name):
    assert name in ops.__all__
    assert OPS[name] in (None, parameters(getattr(ops, name)))


@pytest.mark.parametrize("name", CONVNET)
def test_function_of_convnet_is_public(name):
    assert name in convnet.__all__
    assert CONVNET[name] in (None, parameters(getattr(convnet, name)))


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in CLASSES.items() for name in names]
)
def test_class_is_public(module, name):
    assert inspect.isclass(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(
    ("module", "name"),
    [("convnet", name) for name in convnet.__all__]
    + [("convnet.ops", name) for name in ops.__all__],
)
def test_public_function_is_documented_and_annotated(module, name):
    value = getattr(importlib.import_module(module), name)
    assert inspect.getdoc(value)
    if inspect.isfunction(value):
        signature = inspect.signature(value)
        bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
        assert not bare, "parameters without a type"
        assert signature.return_annotation is not signature.empty
