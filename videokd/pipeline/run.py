"""One run: config, datasets, plan, device and ranks."""

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
    """A run directory and everything needed to work on it."""

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
        """Loader workers of this process, and its share of each batch."""
        return LoaderPlace(
            self.num_workers,
            ignore_signals,
            pin_memory=self.device.type == "cuda",
            rank=self.ranks.rank,
            num_ranks=self.ranks.num_ranks,
        )

    def raise_if_stopped(self) -> None:
        """Raise ``Stopped`` on all ranks if any rank received a signal; all ranks must call it."""
        if any(self.ranks.any(self.stop.is_set)):
            raise Stopped
