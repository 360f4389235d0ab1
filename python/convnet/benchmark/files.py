"""Result files: what a run writes, and compare, report and plots read."""

import json
from pathlib import Path
from typing import Any

FORMAT = 1
_KEYS = ("format", "machine", "versions", "limits", "results")


def write(record: dict[str, Any], path: str | Path) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": FORMAT, **record}) + "\n")


def read(path: str | Path) -> dict[str, Any]:
    """A result file's contents; ValueError naming it when it is none, OSError as open's."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected a result file of convnet bench: {error}") from None
    if not isinstance(record, dict) or any(key not in record for key in _KEYS):
        raise ValueError(f"{path}: expected a result file of convnet bench, got other JSON")
    if record["format"] != FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT}, got {record['format']!r}")
    return record


def describe(record: dict[str, Any]) -> str:
    """Where and when, in a line."""
    machine = record["machine"]
    info = machine["convnet"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"{machine['date'][:10]}, {machine['processor']}, {machine['cpus']} CPUs, "
        f"{info['instruction_set']}; {versions}"
    )
