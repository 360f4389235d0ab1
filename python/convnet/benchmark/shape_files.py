"""Layer tables: CSV files with a header, one layer or product a line, # for comments.

name,count,C,H,W,K,R,S,stride_h,stride_w,pad_h,pad_w,dilation_h,dilation_w,groups
name,M,N,K,transA,transB
"""

import csv
from pathlib import Path
from typing import Any

from convnet.shapes import conv_dims

CONV = ["name", "count", "C", "H", "W", "K", "R", "S", "stride_h", "stride_w", "pad_h", "pad_w"]
CONV += ["dilation_h", "dilation_w", "groups"]
GEMM = ["name", "M", "N", "K", "transA", "transB"]
_FROM_ZERO = {"pad_h", "pad_w", "transA", "transB"}
_MOST = 2**31 - 1

FOLDER = Path(__file__).parent / "shapes"


def read(path: str | Path) -> tuple[str, list[dict[str, Any]]]:
    """("conv" or "gemm", the rows by column name).

    ValueError names the file, the line and the column that do not fit; OSError as open's.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, got {error}") from None
    header: list[str] | None = None
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        place = f"{path}, line {number}"
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if header is None:
            header = _header(cells, place)
        else:
            rows.append(_row(cells, header, place))
    if header is None or not rows:
        raise ValueError(f"{path}: expected a header and at least one layer, got an empty table")
    return ("conv" if "stride_h" in header else "gemm"), rows


def _header(cells: list[str], place: str) -> list[str]:
    for columns in (CONV, GEMM):
        if sorted(cells) == sorted(columns):
            return cells
    columns = GEMM if "M" in cells else CONV
    strange = [i for i, cell in enumerate(cells) if cell not in columns or cell in cells[:i]]
    if strange:
        i = strange[0]
        raise ValueError(
            f"{place}, column {i + 1}: expected a header of {','.join(columns)}, got {cells[i]!r}"
        )
    missing = ", ".join(c for c in columns if c not in cells)
    raise ValueError(f"{place}, column {len(cells) + 1}: the header lacks {missing}")


def _row(cells: list[str], header: list[str], place: str) -> dict[str, Any]:
    if len(cells) != len(header):
        raise ValueError(
            f"{place}, column {min(len(cells), len(header)) + 1}: expected {len(header)} cells "
            f"as in the header, got {len(cells)}"
        )
    row: dict[str, Any] = {}
    for i, (name, text) in enumerate(zip(header, cells, strict=True), 1):
        where = f"{place}, column {i} ({name})"
        if name == "name":
            if not text:
                raise ValueError(f"{where}: expected a name, got nothing")
            row[name] = text
            continue
        least = 0 if name in _FROM_ZERO else 1
        if not (text.isascii() and text.isdigit() and least <= int(text) <= _MOST):
            raise ValueError(f"{where}: expected a whole number of at least {least}, got {text!r}")
        row[name] = int(text)
    if "stride_h" in row:
        try:
            dims(row, 1)
        except ValueError as error:
            raise ValueError(f"{place}: no such convolution: {error}") from None
    return row


def dims(row: dict[str, Any], batch: int) -> Any:
    """A row's ConvDims."""
    if row["C"] % row["groups"] or row["K"] % row["groups"]:
        raise ValueError(f"C={row['C']} and K={row['K']} do not divide into {row['groups']} groups")
    return conv_dims(
        (batch, row["C"], row["H"], row["W"]),
        (row["K"], row["C"] // row["groups"], row["R"], row["S"]),
        (row["stride_h"], row["stride_w"]),
        (row["pad_h"], row["pad_w"]),
        (row["dilation_h"], row["dilation_w"]),
        row["groups"],
        2,
    )
