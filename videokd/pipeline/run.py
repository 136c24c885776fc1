"""One run: its config, its data, what is to be trained, and the means to do it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.data.build import DatasetParts
from videokd.engine.stop import StopRequest
from videokd.pipeline.plan import ExperimentPlan


@dataclass(frozen=True)
class Run:
    """One run directory and the means to work on it."""

    cfg: CfgNode
    datasets: dict[str, DatasetParts]
    plan: ExperimentPlan
    folder: Path
    device: torch.device
    num_workers: int
    console: Console
    stop: StopRequest
