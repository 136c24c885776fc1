"""``metrics.jsonl``: one JSON object per log step and per evaluation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videokd.utils.io import atomic_write_text


class MetricsLog:
    """Append JSON lines to a file, from a given step on.

    Lines of later steps, left by a run that was cut off after its last checkpoint, are dropped:
    the log of a resumed run is the log of an uninterrupted one.

    Args:
        path: The file; made when missing.
        start_step: Number of steps already done.
    """

    def __init__(self, path: Path, start_step: int) -> None:
        kept = [line for line in read_metrics(path) if line["step"] <= start_step]
        atomic_write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._path = path

    def write(self, values: Mapping[str, Any]) -> None:
        """Append one line; ``values`` holds ``step`` and plain JSON values."""
        # Opened for each of these rare lines: no handle is left open when a run fails.
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(values)) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file; a last line that was cut off is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
