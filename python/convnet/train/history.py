"""What a training leaves: an entry for each epoch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convnet.extras import require


class History:
    """Entries of fit, by number or by name: history[-1]["val_loss"] is history["val_loss"][-1]."""

    def __init__(self, entries: list[dict[str, Any]] | None = None) -> None:
        self.entries = [] if entries is None else list(entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.entries)

    def __getitem__(self, which: int | str) -> Any:
        if not isinstance(which, str):
            return self.entries[which]
        if self.entries and which not in self.entries[0]:
            raise KeyError(f"{which}: expected one of {', '.join(self.entries[0])}")
        return [entry[which] for entry in self.entries]

    def append(self, entry: dict[str, Any]) -> None:
        """Add an epoch."""
        self.entries.append(entry)

    def save(self, path: str | Path) -> None:
        """Write the entries as JSON."""
        Path(path).write_text(json.dumps(self.entries, indent=2) + "\n")

    def plot(self, path: str | Path, title: str = "") -> None:
        """Draw loss and metrics by epoch to a picture file; wants matplotlib."""
        require("History.plot", "matplotlib")
        from convnet.train import plots

        plots.learning_curves(self.entries, path, title)

    def __repr__(self) -> str:
        return f"History({len(self)} epochs{f', last {self[-1]}' if self.entries else ''})"
