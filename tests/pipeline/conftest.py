"""Runs of the tiny experiment."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from videokd.config import load_config
from videokd.engine.stop import StopRequest
from videokd.pipeline.run import Run, prepare_run


@pytest.fixture
def make_run(write_config: Callable[..., object]) -> Callable[..., Run]:
    """``make_run(*overrides, is_dry=True, store=None, **nodes of write_config)``."""

    def make(
        *overrides: object, is_dry: bool = True, store: Path | None = None, **nodes: object
    ) -> Run:
        cfg = load_config(write_config(**nodes), [str(word) for word in overrides])
        return prepare_run(cfg, Console(width=120), StopRequest(), is_dry=is_dry, store=store)

    return make
