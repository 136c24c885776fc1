"""Provenance of a training: command, environment and peak memory of each call that ran it."""

from datetime import datetime, timezone
from typing import Any

import torch

from videokd.config import dump_config, parse_config, read_config
from videokd.engine.training_file import leaves
from videokd.pipeline.run import Run
from videokd.utils.env import (
    collect_environment,
    command_line,
    peak_memory_gib,
    reset_peak_memory,
)

CONFIG_NAME = "config.yaml"


def begin_call(run: Run) -> dict[str, Any]:
    """Return the record of a new call on a training, and reset the peak memory counters.

    Returns:
        command, started (UTC), environment, and overrides: the config values that differ from the
        run directory's ``config.yaml``.
    """
    reset_peak_memory(run.device)
    environment = {
        **collect_environment(run.device),
        "num_workers": run.num_workers,
        "num_threads": torch.get_num_threads(),
        "num_ranks": run.ranks.num_ranks,
    }
    return {
        "command": command_line(),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": environment,
        "overrides": {key: new for key, (_, new) in config_differences(run).items()},
    }


def end_call(call: dict[str, Any], run: Run, seconds: float) -> None:
    """Add time and peak memory to the record of a call, in place."""
    call["seconds"] = round(seconds, 3)
    call["peak_memory_gib"] = peak_memory_gib(run.device)


def config_differences(run: Run) -> dict[str, tuple[Any, Any]]:
    """Return key -> (value in the run directory's ``config.yaml``, value in this call).

    The result is empty without that file.

    Raises:
        InputError: The file is not valid YAML.
    """
    path = run.folder / CONFIG_NAME
    if not path.exists():
        return {}
    known = dict(leaves(read_config(path)))
    given = dict(leaves(parse_config(dump_config(run.cfg), source="of this call")))
    keys = [key for key in {**known, **given} if known.get(key) != given.get(key)]
    return {key: (known.get(key), given.get(key)) for key in keys}
