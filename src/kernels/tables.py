"""Make tables.h: polynomials on 32 intervals for the functions of math.pxi that look them up.

    python src/kernels/tables.py > src/kernels/tables.h         (wants numpy and scipy)

An interval is where shift + a has the same exponent and the same first three bits of its
significand: eight of them an octave, four octaves, so short ones near 0 and long ones where the
functions are flat. Row 0 of a table holds the middles of the intervals, row 1 + k the coefficients
of (a - middle)^k. They are weighted least squares fits of the relative error whose weights grow
where it is large (Lawson's iteration), rounded to float32 one after the other from the highest
power down, the others fitted anew each time. A middle is the place near the interval's where the
function is closest to a float32.
"""

import numpy as np
from scipy.special import erfcx

OCTAVE = 8
POINTS = 200
ROUNDS = 30


def tail(a):
    """The normal distribution at -a over exp(-a^2/2)."""
    return erfcx(a / np.sqrt(2)) / 2


# name: (function, shift, its last argument, degree, (middle, lowest coefficients) of the first
# interval or None, the same of the last one)
TABLES = {
    "tanh_table": (np.tanh, 0.625, 9.25, 4, (0.0, [0.0, 1.0]), (9.25, [1.0])),
    "normal_tail_table": (tail, 1.0, 15.0, 4, None, None),
}


def single(x):
    return float(np.float32(x))


def fit(basis, target):
    """c with a small largest |basis c - target|."""
    size = np.abs(basis).max(0)
    weight, least, best = np.ones(len(target)), np.inf, None
    for _ in range(ROUNDS):
        root = np.sqrt(weight)
        c = np.linalg.lstsq(basis / size * root[:, None], target * root, rcond=1e-16)[0] / size
        error = np.abs(basis @ c - target)
        if error.max() < least:
            least, best = error.max(), c
        weight *= error / error.max() + 1e-3
        weight /= weight.max()
    return best


def polynomial(f, middle, low, high, degree, lowest):
    """The coefficients of f on [low, high] in powers of a - middle; the lowest are given."""
    a = (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    relative = (a - middle)[:, None] ** np.arange(degree + 1) / f(a)[:, None]
    c = np.zeros(degree + 1)
    c[: len(lowest)] = lowest
    for power in range(degree, len(lowest) - 1, -1):
        free = slice(len(lowest), power + 1)
        c[free] = 0
        c[free] = fit(relative[:, free], 1 - relative @ c)
        c[power] = single(c[power])
    return c


def middle_of(f, low, high):
    """A float32 near the middle whose function value is nearly one too."""
    near = np.float32((low + high) / 2 + (high - low) * np.linspace(-0.02, 0.02, 401))
    y = f(near.astype(np.float64))
    return float(near[np.argmin(np.abs(y - y.astype(np.float32)) / y)])


def table(f, shift, end, degree, first, last):
    """(2 + degree, 32): the entry of an interval is where vlookup finds it."""
    rows = np.zeros((2 + degree, 4 * OCTAVE))
    edges = [2.0**k * (1 + j / OCTAVE) for k in range(-2, 6) for j in range(OCTAVE)]
    begin = edges.index(shift)
    for i, (low, high) in enumerate(zip(edges[begin:], edges[begin + 1 :], strict=False)):
        low, high = low - shift, min(high - shift, end)
        if i == rows.shape[1] or low >= end:
            break
        given = first if i == 0 else last if high == end else None
        middle, lowest = given or (middle_of(f, low, high), [])
        # What is just outside may be rounded into the interval.
        margin = 2.0**-20 * (low + shift)
        c = polynomial(f, middle, max(low - margin, 1e-9), high + margin, degree, lowest)
        entry = np.float32((low + high) / 2 + shift).view(np.int32) >> 20 & 31
        rows[:, entry] = [middle, *c]
    return rows


def print_rows(rows):
    for row in rows:
        for i in range(0, len(row), 4):
            print("    " + " ".join(f"{single(v):.9e}f," for v in row[i : i + 4]))


def main():
    print("/* Made by tables.py: see there. */")
    print("#define TABLE static const float __attribute__((aligned(64), unused))")
    for name, arguments in TABLES.items():
        rows = table(*arguments)
        print(f"TABLE {name}[{len(rows)}][32] = {{")
        for row in rows:
            print("    {")
            print_rows([row])
            print("    },")
        print("};")
    print("/* 2^(i/16) */")
    print("TABLE root_table[16] = {")
    print_rows([2 ** (np.arange(16) / 16)])
    print("};")


if __name__ == "__main__":
    main()
