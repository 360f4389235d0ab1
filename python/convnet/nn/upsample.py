"""Images in another size."""

from typing import Any

from convnet.nn import functional as F  # noqa: N812 - as everyone writes it
from convnet.nn.module import Module


class Upsample(Module):
    """(N, C, L) or (N, C, H, W) in another size: "nearest", "linear", "bilinear".

    size or scale_factor, as torch.nn.Upsample; see ops.interpolate.
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        if (size is None) == (scale_factor is None):
            raise ValueError("size: give either size or scale_factor")
        if mode not in ("nearest", "linear", "bilinear"):
            raise ValueError(f'mode: expected "nearest", "linear" or "bilinear", got {mode!r}')
        self.size, self.mode, self.align_corners = size, mode, align_corners
        if isinstance(scale_factor, (tuple, list)):
            scale_factor = tuple(float(f) for f in scale_factor)
        self.scale_factor = float(scale_factor) if isinstance(scale_factor, int) else scale_factor
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Any) -> Any:
        return F.interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
        )

    def extra_repr(self) -> str:
        name = "size" if self.scale_factor is None else "scale_factor"
        return f"{name}={getattr(self, name)!r}, mode={self.mode!r}"
