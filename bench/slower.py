"""A peer for `convnet bench`: convnet with every call 1.3 times as long, by the wall clock.

    convnet bench --json first.json
    PYTHONPATH=bench convnet bench --peers convnet=slower,torch --json slower.json
    convnet bench compare first.json slower.json --fail-on-regression

The last command finds each layer slower, but for those that the machine was too noisy to time.
"""

import time
from collections.abc import Callable
from typing import Any

from convnet.benchmark.peers import convnet as ours
from convnet.benchmark.peers.convnet import *  # noqa: F403 - what a peer is made of

FACTOR = 1.3


def prepare(task: Any, inputs: dict[str, Any], layout: str) -> Callable[[], tuple]:
    call = ours.prepare(task, inputs, layout)

    def run() -> tuple:
        start = time.perf_counter()
        found = call()
        end = start + FACTOR * (time.perf_counter() - start)
        while time.perf_counter() < end:
            pass
        return found

    return run
