"""One run: its config, its data, what is to be trained, and the means to do it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.data.build import DatasetParts, LoaderPlace
from videokd.engine.distributed import ONE_RANK, Ranks
from videokd.engine.stop import Stopped, StopRequest, ignore_signals
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
    ranks: Ranks = ONE_RANK

    @property
    def loader_place(self) -> LoaderPlace:
        """Where batches are made, and this process's part of them."""
        return LoaderPlace(
            self.num_workers,
            ignore_signals,
            pin_memory=self.device.type == "cuda",
            rank=self.ranks.rank,
            num_ranks=self.ranks.num_ranks,
        )

    def raise_if_stopped(self) -> None:
        """Raise ``Stopped`` on all ranks when a signal has come to any; all must call it."""
        if any(self.ranks.any(self.stop.is_set)):
            raise Stopped
