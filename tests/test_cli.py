"""The command line: usage errors, info, and what a bare install can do."""

import json
import os
import subprocess
import sys

import convnet
import pytest
from convnet import cli


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["info", "extra"], "unrecognized arguments: extra"),
        (["train", "--model", "vgg"], "argument --model: invalid choice: 'vgg'"),
        (["train", "--epochs", "0"], "--epochs: expected a whole number of at least 1, got '0'"),
        (["train", "--epochs", "1.5"], "--epochs: expected a whole number of at least 1"),
        (["train", "--batch-size", "-4"], "--batch-size: expected"),
        (["train", "--threads", "many"], "--threads: expected a whole number of at least 1"),
        (["train", "--lr", "0"], "--lr: expected a number above 0, got '0'"),
        (["train", "--lr", "nan"], "--lr: expected a number above 0, got 'nan'"),
        (["train", "--lr", "fast"], "--lr: expected a number above 0, got 'fast'"),
        (["train", "--seed", "-1"], "--seed: expected"),
        (["train", "--seed", str(2**64)], "--seed: expected a whole number below 2^64"),
        (["train", "--optimizer", "lbfgs"], "--optimizer: invalid choice"),
        (["predict"], "required: weights, IMAGE"),
        (["predict", "weights"], "required: IMAGE"),
        (["check", "--family", "fft"], "--family: invalid choice: 'fft'"),
        (["check", "--dtype", "float16"], "--dtype: invalid choice"),
    ],
)
def test_bad_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["info", "train", "predict", "check", "bench"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: convnet {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CONVNET_BACKEND", "gpu"),
        ("CONVNET_ISA", "z80"),
        ("CONVNET_NUM_THREADS", "0"),
        ("CONVNET_PRECISION", "low"),
        ("CONVNET_CROSS_CHECK", "yes"),
        ("CONVNET_CACHE_LIMIT", "1 MB"),
    ],
)
def test_wrong_variable_is_one_line(variable, value):
    command = [sys.executable, "-m", "convnet", "check", "--quick", "--family", "optim"]
    run = subprocess.run(
        command, env={**os.environ, variable: value}, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2
    assert run.stderr.startswith("convnet")
    assert f"error: {variable}" in run.stderr
    assert run.stderr.count("\n") == 1


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"convnet {convnet.__version__}\n"


def test_info(capsys):
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    for name in ("version", "instruction set", "instruction set from", "threads from", "cuda"):
        assert any(line.startswith(name + " ") for line in out.splitlines())
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == convnet.info()


def test_what_fails_below_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(convnet, "info", lambda: {}["lost"])
    with pytest.raises(KeyError):  # a fault of ours keeps its traceback
        cli.main(["info"])

    def refuse():
        raise ValueError("x: wrong")

    monkeypatch.setattr(convnet, "info", refuse)
    assert cli.main(["info"]) == 2
    assert capsys.readouterr().err == "convnet info: error: x: wrong\n"


BARE = """
import sys
for extra in ("matplotlib", "rich", "mlxtend", "PIL", "scipy", "torch", "pandas"):
    sys.modules[extra] = None
from convnet import cli
status = cli.main(["info"]) or cli.main(["check", "--quick", "--family", "activation"])
sys.exit(status or {more})
"""


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        ("0", 0, ""),
        ('cli.main(["train"])', 2, 'needs matplotlib and mlxtend: pip install "convnet-kernels'),
        ('cli.main(["bench"])', 2, 'bench needs rich: pip install "convnet-kernels[bench]"'),
        ('cli.main(["bench", "--plot", "a.png"])', 2, "bench needs rich and matplotlib"),
    ],
    ids=["info-check", "train", "bench", "bench-plot"],
)
def test_bare_install(more, status, message):
    run = subprocess.run(
        [sys.executable, "-c", BARE.format(more=more)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == status, run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_module_runs_the_command_line():
    run = subprocess.run(
        [sys.executable, "-m", "convnet", "info"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0
    assert convnet.__version__ in run.stdout
