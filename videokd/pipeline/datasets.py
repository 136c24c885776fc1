"""Datasets of an experiment: generate the embedded ones, read them, fill their frame caches."""

from collections.abc import Collection
from pathlib import Path

from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.data.build import DatasetSplits, build_datasets, build_frame_caches
from videokd.engine.stop import StopRequest
from videokd.pipeline.progress import phase_bar
from videokd.synthetic import generate_datasets
from videokd.utils.env import num_available_cores


def prepare_datasets(
    cfg: CfgNode, console: Console, stop: StopRequest, *, allows_absent: bool = False
) -> dict[str, DatasetSplits]:
    """Return the datasets of a config; embedded datasets are generated first.

    Args:
        cfg: The whole config.
        console: Console of the progress bars.
        stop: Stop request, checked between videos.
        allows_absent: See ``build_datasets``.

    Raises:
        InputError: Folders or lists are missing or wrong.
        Stopped: A signal arrived.
    """
    if cfg.SYNTHETIC.ROOT:
        node = cfg.SYNTHETIC
        generate_synthetic(node.ROOT, node.PROFILE, console, stop, seed=node.SEED)
    stop.raise_if_set()
    return build_datasets(cfg, allows_absent=allows_absent)


def generate_synthetic(
    root: str, profile: str, console: Console, stop: StopRequest, *, seed: int = 0
) -> None:
    """Generate the embedded datasets under ``root``, unless they exist.

    Raises:
        Stopped: A signal arrived; the same call resumes.
    """
    with phase_bar(console, stop) as bar:
        generate_datasets(
            Path(root),
            profile=profile,
            seed=seed,
            num_processes=num_available_cores(),
            on_progress=lambda done, total: bar.update("generate videos", done, total),
        )


def cache_frames(
    cfg: CfgNode,
    datasets: dict[str, DatasetSplits],
    subsets: Collection[str],
    console: Console,
    stop: StopRequest,
) -> dict[str, DatasetSplits]:
    """Return the datasets with the frames of ``subsets`` decoded, if the config asks for a cache.

    Raises:
        Stopped: A signal arrived; the same call resumes.
    """
    with phase_bar(console, stop) as bar:
        return build_frame_caches(
            cfg,
            datasets,
            subsets=subsets,
            num_processes=num_available_cores(),
            on_progress=lambda name, done, total: bar.update(f"decode {name}", done, total),
        )
