"""From a config to a Run: data generated, read and cached, threads set, the plan made."""

import logging
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.config import dump_config
from videokd.data.build import DatasetParts, build_datasets, build_frame_caches
from videokd.data.synthetic import generate_datasets
from videokd.engine.stop import StopRequest
from videokd.pipeline.plan import ExperimentPlan
from videokd.pipeline.progress import Bar, progress_bar
from videokd.pipeline.run import Run
from videokd.utils.env import (
    collect_environment,
    num_available_cores,
    pick_device,
    plan_threads,
)
from videokd.utils.io import atomic_write_text, write_json

logger = logging.getLogger(__name__)


def prepare_run(cfg: CfgNode, console: Console, stop: StopRequest, *, is_dry: bool = False) -> Run:
    """Prepare everything that training and testing need.

    Args:
        cfg: The whole config.
        console: For the progress bars.
        stop: Asked between videos.
        is_dry: Write nothing to OUTPUT_DIR and decode no videos.
    """
    num_workers, num_threads = plan_threads(
        cfg.DATA_LOADER.NUM_WORKERS, cfg.DATA_LOADER.NUM_THREADS
    )
    torch.set_num_threads(num_threads)
    folder = Path(cfg.OUTPUT_DIR)
    if not is_dry:
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / "config.yaml", dump_config(cfg))
        environment = collect_environment()
        threads = {"num_workers": num_workers, "num_threads": num_threads}
        write_json(folder / "environment.json", {**environment, **threads})
    if cfg.SYNTHETIC.ROOT:
        generate_synthetic(cfg.SYNTHETIC.ROOT, cfg.SYNTHETIC.PROFILE, console)
    stop.raise_if_set()
    datasets = build_datasets(cfg)
    if not is_dry:
        datasets = _cache_frames(cfg, datasets, console)
    stop.raise_if_set()
    return Run(
        cfg=cfg,
        datasets=datasets,
        plan=ExperimentPlan(cfg, datasets, folder),
        folder=folder,
        device=pick_device(cfg.DEVICE),
        num_workers=num_workers,
        console=console,
        stop=stop,
    )


def generate_synthetic(root: str, profile: str, console: Console) -> None:
    """Generate the embedded datasets under ``root``, unless they are there already."""
    with _LazyBar(console) as bar:
        generate_datasets(
            Path(root),
            profile=profile,
            num_processes=num_available_cores(),
            on_progress=lambda done, total: bar.update("generate videos", done, total),
        )


def _cache_frames(
    cfg: CfgNode, datasets: dict[str, DatasetParts], console: Console
) -> dict[str, DatasetParts]:
    with _LazyBar(console) as bar:
        return build_frame_caches(
            cfg,
            datasets,
            num_processes=num_available_cores(),
            on_progress=lambda name, done, total: bar.update(f"decode {name}", done, total),
        )


class _LazyBar:
    """A progress bar that appears with the first report, and anew when the name changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._name = ""
        self._context = None
        self._bar: Bar | None = None

    def __enter__(self) -> "_LazyBar":
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def update(self, name: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done in the part called ``name``."""
        if name != self._name:
            self._close()
            self._name = name
            self._context = progress_bar(self._console, name, total)
            self._bar = self._context.__enter__()
        assert self._bar is not None
        self._bar.update(done, "")

    def _close(self) -> None:
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = None
