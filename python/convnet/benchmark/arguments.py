"""The arguments of `convnet bench`. Nothing heavy is imported here: every convnet command does."""

import argparse
from collections.abc import Callable


def _list(kind: Callable[[str], object]) -> Callable[[str], tuple]:
    def parse(text: str) -> tuple:
        return tuple(dict.fromkeys(kind(part) for part in text.split(",") if part))

    return parse


def _one_of(name: str, *choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(
                f"expected {name} out of {', '.join(choices)}, got {text!r}"
            )
        return text

    return parse


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 4096, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return value


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--suite",
        dest="suites",
        type=_list(str),
        metavar="NAMES",
        help="some of gemm, mnist, vgg16, resnet50, mobilenet",
    )
    parser.add_argument(
        "--shapes", action="append", metavar="FILE", help="a table of layers or products, as CSV"
    )
    parser.add_argument(
        "--pass",
        dest="directions",
        type=_list(_one_of("a pass", "forward", "backward")),
        default=("forward", "backward"),
        help="forward, backward or both (default)",
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument(
        "--layout",
        dest="layouts",
        choices=("nchw", "channels_last", "both"),
        default="both",
        help="memory format of images (default: %(default)s)",
    )
    parser.add_argument("--threads", type=_list(_count), help="default: 1")
    parser.add_argument("--batch", type=_count, help="images (default: the suite's)")
    parser.add_argument(
        "--precision", choices=("highest", "high", "medium"), default="high", help="convnet's"
    )
    parser.add_argument(
        "--peers",
        type=_list(str),
        default=("torch",),
        metavar="NAMES",
        help="some of torch, numpy, scipy, onnxruntime, or name=module",
    )
    parser.add_argument(
        "--time",
        type=_seconds,
        default=0.2,
        metavar="S",
        help="seconds of calls for each peer, layer and memory format (default: %(default)s)",
    )
    parser.add_argument(
        "--limit",
        type=_seconds,
        default=60.0,
        metavar="S",
        help="seconds after which a peer that does not answer is ended (default: %(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", help="keep everything, raw samples too")


def finish(options: argparse.Namespace) -> None:
    """Fill in what depends on other arguments."""
    both = ("nchw", "channels_last")
    options.layouts = both if options.layouts == "both" else (options.layouts,)
    options.threads = options.threads or (1,)
    options.suites = options.suites or ()
