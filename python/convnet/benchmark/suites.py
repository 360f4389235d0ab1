"""Which tasks a suite has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convnet.benchmark import shape_files
from convnet.benchmark.tasks import DIRECTIONS, STEP, Task
from convnet.benchmark.workloads import activation


@dataclass(frozen=True)
class Request:
    """What the tasks are made for. batch: images, None for the suite's own."""

    dtype: str = "float32"
    directions: tuple[str, ...] = DIRECTIONS
    batch: int | None = None


def _conv(suite: str, rows: list[dict[str, Any]], request: Request, batch: int) -> list[Task]:
    batch = request.batch or batch
    tasks = []
    for row in rows:
        params = {"N": batch, **row}
        name, count = params.pop("name"), params.pop("count")
        tasks += [
            Task(suite, name, "conv", direction, request.dtype, params, count)
            for direction in request.directions
        ]
    return tasks


def _gemm(suite: str, rows: list[dict[str, Any]], request: Request) -> list[Task]:
    if "forward" not in request.directions:
        return []
    return [
        Task(
            suite,
            row["name"],
            "gemm",
            "forward",
            request.dtype,
            {k: v for k, v in row.items() if k != "name"},
            images=False,
        )
        for row in rows
    ]


def _of_files(suite: str, batch: int, **files: str) -> Callable[[Request], list[Task]]:
    """Convolutions of tables in shapes/; the keyword is what stands before a layer's name."""

    def tasks(request: Request) -> list[Task]:
        found = []
        for prefix, file in files.items():
            rows = shape_files.read(shape_files.FOLDER / file)[1]
            for row in rows:
                row["name"] = f"{prefix}/{row['name']}" if prefix != "_" else row["name"]
            found += _conv(suite, rows, request, batch)
        return found

    return tasks


def _own_gemm(request: Request) -> list[Task]:
    """Products below 64^3, where calling costs as much as computing, are a group of their own."""
    tasks = _gemm("gemm", shape_files.read(shape_files.FOLDER / "gemm.csv")[1], request)
    small = [t.params["M"] * t.params["N"] * t.params["K"] < 64**3 for t in tasks]
    return [
        replace(t, suite="gemm small") if is_small else t
        for t, is_small in zip(tasks, small, strict=True)
    ]


# Images that leave the caches of a core, and images that fit them.
_LARGE, _SMALL = (32, 64, 56, 56), (2, 64, 28, 28)
_POOLS = (
    # name, op, kernel_size, stride, padding
    ("max 2x2/2", "max_pool", 2, 2, 0),
    ("max 3x3/2", "max_pool", 3, 2, 1),
    ("max 3x3/1", "max_pool", 3, 1, 1),
    ("avg 2x2/2", "avg_pool", 2, 2, 0),
    ("avg 3x3/1", "avg_pool", 3, 1, 1),
    ("global avg", "global_avg_pool", 0, 0, 0),
)


def _shapes(request: Request) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape; a batch that was asked for takes the large one's place."""
    large = (request.batch or _LARGE[0], *_LARGE[1:])
    return [("", large), (" cached", _SMALL)]


def _pool(request: Request) -> list[Task]:
    sizes = ("kernel_size", "stride", "padding")
    return [
        Task(
            "pool" + suffix,
            name,
            op,
            direction,
            request.dtype,
            {"shape": shape, **dict(zip(sizes, numbers, strict=True))},
        )
        for suffix, shape in _shapes(request)
        for name, op, *numbers in _POOLS
        for direction in request.directions
    ]


def _elementwise(request: Request) -> list[Task]:
    found = []

    def add(suffix: str, op: str, direction: str, shape: tuple[int, ...], images: bool) -> None:
        suite, params = "elementwise" + suffix, {"shape": shape}
        found.append(Task(suite, op, op, direction, request.dtype, params, images=images))

    for suffix, shape in _shapes(request):
        for op in (*activation.OPS, "batch_norm"):
            for direction in request.directions:
                add(suffix, op, direction, shape, True)
    for suffix, rows in (("", 4096), (" cached", 128)):
        for op in ("softmax", "log_softmax", "cross_entropy"):
            for direction in request.directions:
                add(suffix, op, direction, (rows, 1000), False)
    for suffix, n in (("", 10_000_000), (" cached", 50_000)):
        for op in ("adam", "sgd"):
            add(suffix, op, STEP, (n,), False)
    return found


def _train(request: Request) -> list[Task]:
    return [
        Task(
            "train",
            name,
            "train",
            STEP,
            request.dtype,
            {"network": kind, "N": request.batch or batch},
            images=False,
        )
        for name, kind, batch in (("mnist cnn", "cnn", 64), ("mlp 784-100-10", "mlp", 100))
    ]


# One or two tasks of each kind: suite, and the name of a layer.
_QUICK = (
    ("gemm", "square_512"),
    ("mnist", "mnist/conv1"),
    ("mnist", "mnist/conv2"),
    ("vgg16", "conv5_1"),
    ("resnet50", "res3b_3x3"),
    ("resnet50", "res3b_1x1a"),
    ("mobilenet", "v1/dw3"),
    ("pool", "max 3x3/2"),
    ("pool", "avg 2x2/2"),
    ("elementwise", "relu"),
    ("elementwise", "batch_norm"),
    ("elementwise", "softmax"),
    ("elementwise", "adam"),
    ("train", "mnist cnn"),
)


def _quick(request: Request) -> list[Task]:
    found = []
    for suite, name in _QUICK:
        found += [
            replace(
                task,
                suite="quick",
                name=name if name.startswith(suite) else f"{suite} {name}",
                count=1,
            )
            for task in SUITES[suite](request)
            if (task.suite, task.name) == (suite, name)
        ]
    return found


SUITES: dict[str, Callable[[Request], list[Task]]] = {
    "gemm": _own_gemm,
    "mnist": _of_files("mnist", 64, _="mnist.csv"),
    "vgg16": _of_files("vgg16", 8, _="vgg16.csv"),
    "resnet50": _of_files("resnet50", 8, _="resnet50.csv"),
    "mobilenet": _of_files("mobilenet", 8, v1="mobilenet_v1.csv", v2="mobilenet_v2.csv"),
    "pool": _pool,
    "elementwise": _elementwise,
    "train": _train,
    "quick": _quick,
}


def tasks_of(names: Sequence[str], files: Sequence[str], request: Request) -> list[Task]:
    """The tasks of suites and of layer tables; forward ones of a suite come before backward ones.

    ValueError for an unknown suite, and for a table that is not one.
    """
    found: list[Task] = []
    for name in names:
        if name not in SUITES:
            raise ValueError(f"suite: expected one of {', '.join(SUITES)}, got {name!r}")
        found += _sorted(SUITES[name](request))
    for file in files:
        kind, rows = shape_files.read(file)
        suite = Path(file).stem
        made = _gemm(suite, rows, request) if kind == "gemm" else _conv(suite, rows, request, 8)
        found += _sorted(made)
    return found


def _sorted(tasks: list[Task]) -> list[Task]:
    directions, suites = (*DIRECTIONS, STEP), list(dict.fromkeys(task.suite for task in tasks))
    return sorted(
        tasks, key=lambda task: (directions.index(task.direction), suites.index(task.suite))
    )
