"""A task: one op on one shape, in one direction. It is what the processes tell each other."""

from dataclasses import asdict, dataclass
from typing import Any

LAYOUTS = ("nchw", "channels_last")
DIRECTIONS = ("forward", "backward")
STEP = "step"  # the direction of what is one thing: an optimizer's or a training step


@dataclass(frozen=True)
class Task:
    """params: what the op's workload asks for; count: how often its network has the layer.

    images: whether the arrays are images, which may lie in either of LAYOUTS; else there is "nchw"
    alone, which then means plain C order.
    """

    suite: str
    name: str
    op: str
    direction: str
    dtype: str
    params: dict[str, Any]
    count: int = 1
    images: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.suite} {self.name} {self.direction}"
