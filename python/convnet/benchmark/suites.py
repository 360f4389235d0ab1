"""Which tasks a suite has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convnet.benchmark import shape_files
from convnet.benchmark.tasks import DIRECTIONS, Task


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


SUITES: dict[str, Callable[[Request], list[Task]]] = {
    "gemm": lambda r: _gemm("gemm", shape_files.read(shape_files.FOLDER / "gemm.csv")[1], r),
    "mnist": _of_files("mnist", 64, _="mnist.csv"),
    "vgg16": _of_files("vgg16", 8, _="vgg16.csv"),
    "resnet50": _of_files("resnet50", 8, _="resnet50.csv"),
    "mobilenet": _of_files("mobilenet", 8, v1="mobilenet_v1.csv", v2="mobilenet_v2.csv"),
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
    return sorted(tasks, key=lambda task: DIRECTIONS.index(task.direction))
