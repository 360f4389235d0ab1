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


def _picture(text: str) -> str:
    if not text.lower().endswith((".png", ".svg", ".pdf")):
        raise argparse.ArgumentTypeError(f"expected a name that ends in .png or .svg, got {text!r}")
    return text


def add_to(parser: argparse.ArgumentParser) -> None:
    """Options of a run, and the commands that read its files."""
    _add_run(parser)
    commands = parser.add_subparsers(dest="action", metavar="ACTION")
    compare = commands.add_parser("compare", help="what got faster or slower between two files")
    compare.add_argument("old", metavar="A.json")
    compare.add_argument("new", metavar="B.json")
    compare.add_argument(
        "--tolerance",
        type=_percent,
        default=5.0,
        metavar="PERCENT",
        help="the least change that counts (default: %(default)s)",
    )
    compare.add_argument("--all", action="store_true", help="show what did not change, too")
    compare.add_argument(
        "--fail-on-regression", action="store_true", help="exit with 1 if anything got slower"
    )
    report = commands.add_parser("report", help="one HTML page with the tables and pictures")
    report.add_argument("files", nargs="+", metavar="FILE.json")
    report.add_argument("--out", required=True, metavar="DIR")
    table = commands.add_parser("table", help="the summary as a table in Markdown")
    table.add_argument("files", nargs="+", metavar="FILE.json")
    # Not --peers: a subcommand's default would take the place of the run's.
    table.add_argument("--of", dest="of", type=_list(str), metavar="PEERS", help="these peers only")
    plot = commands.add_parser("plot", help="the pictures of a result file")
    plot.add_argument("file", metavar="FILE.json")
    plot.add_argument("picture", type=_picture, metavar="FILE.png")
    plot.add_argument("--of", type=_list(str), metavar="SUITES", help="these suites only")


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a percentage of at least 0, got {text!r}")
    return value


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--suite",
        dest="suites",
        type=_list(str),
        metavar="NAMES",
        default=(),
        help="some of gemm, mnist, vgg16, resnet50, mobilenet, pool, elementwise, train, and "
        "quick, the default: one or two of each",
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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=_list(_count), help="default: 1")
    parser.add_argument("--batch", type=_count, help="images (default: the suite's)")
    parser.add_argument(
        "--precision", choices=("highest", "high", "medium"), default="high", help="convnet's"
    )
    parser.add_argument(
        "--peers",
        type=_list(str),
        default=("torch", "numpy", "scipy", "onnxruntime"),
        metavar="NAMES",
        help="some of torch, numpy, scipy, onnxruntime (default: all that are installed), or "
        "name=module for one of your own",
    )
    parser.add_argument(
        "--time",
        type=_seconds,
        default=0.12,
        metavar="S",
        help="seconds of calls for each peer, layer and memory format (default: %(default)s)",
    )
    parser.add_argument(
        "--processes",
        type=_count,
        default=3,
        metavar="N",
        help="processes of each peer, between which figures are medians (default: %(default)s)",
    )
    parser.add_argument(
        "--limit",
        type=_seconds,
        default=60.0,
        metavar="S",
        help="seconds after which a peer that does not answer is ended (default: %(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", help="keep everything, raw samples too")
    parser.add_argument(
        "--plot", type=_picture, metavar="FILE.png", help="draw a roofline, and bars of ratios"
    )


def finish(options: argparse.Namespace) -> None:
    """Fill in what depends on other arguments."""
    both = ("nchw", "channels_last")
    options.layouts = both if options.layouts == "both" else (options.layouts,)
    options.threads = options.threads or (1,)
    options.suites = options.suites or (() if options.shapes else ("quick",))
