"""``metrics.jsonl``: one JSON object per log step and per evaluation."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from videokd.engine.disk import naming_failures
from videokd.engine.loggers import MetricsReceiver
from videokd.utils.io import atomic_write_text

# Validations are compared by the mean of the fields of a line with this prefix.
_JUDGED = "val_top1"


class MetricsLog:
    """Log file of JSON lines, appended from a given step on.

    Later lines, left by a run that was killed after its last checkpoint, are dropped. The log of a
    resumed run thus equals the log of an uninterrupted one.

    Args:
        path: The file; created when missing.
        start_step: Number of steps already done.
        loggers: Additional receivers of every line.
        is_silent: Neither read nor write, because another process writes the file.
        is_evaluated: Whether the evaluation after ``start_step`` is done, if one is due there. If
            not, its line is dropped, because the evaluation is repeated.
    """

    def __init__(
        self,
        path: Path,
        start_step: int,
        loggers: Sequence[MetricsReceiver] = (),
        *,
        is_silent: bool = False,
        is_evaluated: bool = True,
    ) -> None:
        self._is_silent = is_silent
        self._best: tuple[int, float] | None = None
        if is_silent:
            return
        kept = [line for line in read_metrics(path) if line["step"] <= start_step]
        if not is_evaluated:
            kept = [x for x in kept if x["step"] < start_step or not _is_of_evaluation(x)]
        # Usually no line is dropped, and a long log need not be written again.
        known = path.read_bytes().splitlines(keepends=True) if path.exists() else [b""]
        if len(known) != len(kept) or not all(line.endswith(b"\n") for line in known):
            with naming_failures(path):
                atomic_write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._path = path
        self._best = find_best(kept)
        self._loggers = tuple(loggers)
        for receiver in self._loggers:
            receiver.begin(start_step)

    @property
    def best_step(self) -> int | None:
        """Step of the best validation so far, see ``find_best``."""
        return None if self._best is None else self._best[0]

    def write(self, values: Mapping[str, Any]) -> None:
        """Append one line; ``values`` holds ``step`` and plain JSON values."""
        if self._is_silent:
            return
        # Opened for each line, which are rare, so that no handle stays open when a run fails.
        with naming_failures(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(values)) + "\n")
        known = [] if self._best is None else [{"step": self._best[0], _JUDGED: self._best[1]}]
        self._best = find_best([*known, values])
        for receiver in self._loggers:
            receiver.write(values)


def find_best(lines: Iterable[Mapping[str, Any]]) -> tuple[int, float] | None:
    """Return the step of the best validation, and its mean ``val_top1`` over the datasets.

    The first of several equal ones is returned, or None without a validation.
    """
    best: tuple[int, float] | None = None
    for line in lines:
        scores = [value for key, value in line.items() if key.startswith(_JUDGED)]
        if scores and (best is None or fmean(scores) > best[1]):
            best = line["step"], fmean(scores)
    return best


def _is_of_evaluation(line: Mapping[str, Any]) -> bool:
    return any(key.startswith("val") for key in line)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file, without an incomplete last line."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
