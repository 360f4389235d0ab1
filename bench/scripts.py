"""The training scripts of tests/scripts under convnet and under torch: time of one run of each.

    python bench/scripts.py [names] [--runs 5]

Each library has a process of its own, on one thread; they take turns, script by script. Both start
from torch's weights of the test suite; the largest difference of their losses stands beside.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent / "tests" / "scripts"
ONE = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CONVNET_NUM_THREADS"), "1")


def serve(library: str) -> None:
    """Run the script named in each line of the input; print its time and its losses."""
    import numpy as np

    sys.path.insert(0, str(SCRIPTS.parent))
    from test_scripts import for_convnet

    for line in sys.stdin:
        path = SCRIPTS / f"{line.strip()}.py"
        source = path.read_text()
        names = {"__name__": path.stem}
        exec(compile(for_convnet(source) if library == "convnet" else source, path, "exec"), names)
        model = names["make"]()
        rng = np.random.default_rng(0)
        weights = {
            name: rng.normal(0, 0.2, tuple(p.shape)).astype("f4")
            for name, p in model.named_parameters()
        }
        torch = names["torch"]
        state = model.state_dict()
        state.update({name: torch.from_numpy(np.asarray(w)) for name, w in weights.items()})
        model.load_state_dict(state)
        begin = time.perf_counter()
        losses = names["train"](model, torch.float32)
        print(time.perf_counter() - begin, *losses, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="scripts; all unless given")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    workers = {
        library: subprocess.Popen(
            [sys.executable, __file__, "--serve", library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE},
        )
        for library in ("convnet", "torch")
    }
    print(f"{'script':20} {'convnet ms':>10} {'torch ms':>10} {'ratio':>6} {'difference':>11}")
    for name in arguments.names or sorted(p.stem for p in SCRIPTS.glob("*.py")):
        times = {library: [] for library in workers}
        losses = {}
        for _ in range(arguments.runs + 1):
            for library, worker in workers.items():
                worker.stdin.write(name + "\n")
                worker.stdin.flush()
                seconds, *values = map(float, worker.stdout.readline().split())
                times[library].append(seconds)
                losses[library] = values
        ours, theirs = (1e3 * statistics.median(times[n][1:]) for n in ("convnet", "torch"))
        off = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
        print(f"{name:20} {ours:10.1f} {theirs:10.1f} {ours / theirs:6.2f} {off:11.1e}", flush=True)
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()


if __name__ == "__main__":
    main()
