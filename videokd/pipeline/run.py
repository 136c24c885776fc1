"""One run: config, datasets, plan, device and ranks; and its preparation."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.config import dump_config, parse_config, read_config
from videokd.data.build import DatasetSplits, LoaderWorkers
from videokd.distill.build import check_losses
from videokd.engine.distributed import ONE_RANK, Ranks, join_ranks
from videokd.engine.loggers import check_loggers
from videokd.engine.stop import Stopped, StopRequest, ignore_signals
from videokd.engine.training_file import leaves
from videokd.models.build import fill_model_inputs
from videokd.pipeline.datasets import cache_frames, prepare_datasets
from videokd.pipeline.plan import ExperimentPlan
from videokd.utils.class_names import TRAINING_NAME
from videokd.utils.env import allow_tf32, pick_device, plan_threads
from videokd.utils.errors import InputError
from videokd.utils.io import atomic_write_text
from videokd.utils.ranks import read_rank

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.yaml"


@dataclass(frozen=True)
class Run:
    """A run directory and everything needed to work on it."""

    cfg: CfgNode
    datasets: dict[str, DatasetSplits]
    plan: ExperimentPlan
    folder: Path
    device: torch.device
    num_workers: int
    console: Console
    stop: StopRequest
    ranks: Ranks = ONE_RANK

    @property
    def loader_workers(self) -> LoaderWorkers:
        """Loader workers of this process, and its share of each batch."""
        return LoaderWorkers(
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


def prepare_run(
    cfg: CfgNode,
    console: Console,
    stop: StopRequest,
    *,
    is_dry: bool = False,
    frames_of: Collection[str] = ("train", "test"),
    store: Path | None = None,
    ranks: Ranks = ONE_RANK,
) -> Run:
    """Prepare everything that training and testing need; write nothing to OUTPUT_DIR.

    Args:
        cfg: The whole config.
        console: Console of the progress bars.
        stop: Stop request, checked between videos.
        is_dry: Whether to decode no videos and load no weights; datasets may be absent then.
        frames_of: Splits to decode into the frame cache, if the config has one: "train" (includes
            held-out videos), "test", both or none.
        store: See ``ExperimentPlan``.
        ranks: Ranks of the run; the first generates and decodes before the others continue.

    Raises:
        InputError: The config does not fit the data, the machine or the networks.
        Stopped: A signal arrived.
    """
    check_losses(cfg)
    cfg = fill_model_inputs(cfg)
    _check_batch_size(cfg, ranks.num_ranks)
    _check_cache(cfg, ranks.num_ranks)
    num_workers, num_threads = plan_threads(
        cfg.DATA_LOADER.NUM_WORKERS,
        cfg.DATA_LOADER.NUM_THREADS,
        num_processes=ranks.info.num_local_ranks,
    )
    torch.set_num_threads(num_threads)
    allow_tf32(cfg.TRAIN.TF32)
    folder = Path(cfg.OUTPUT_DIR)
    device = pick_rank_device(cfg)
    with ranks.first_alone():
        datasets = prepare_datasets(cfg, console, stop, allows_absent=is_dry)
    # Build the plan first: it finds errors before minutes of decoding.
    plan = ExperimentPlan(cfg, datasets, folder, store=store, is_dry=is_dry)
    if not is_dry:
        with ranks.first_alone():
            datasets = cache_frames(cfg, datasets, frames_of, console, stop)
    run = Run(
        cfg=cfg,
        datasets=datasets,
        plan=plan,
        folder=folder,
        device=device,
        num_workers=num_workers,
        console=console,
        stop=stop,
        ranks=ranks,
    )
    run.raise_if_stopped()
    return run


@contextmanager
def open_ranks(cfg: CfgNode) -> Iterator[Ranks]:
    """Join the other processes started by torchrun or SLURM, if any, and leave at the end.

    Raises:
        RunError: The other processes do not join in time.
    """
    device = pick_rank_device(cfg)
    with join_ranks(device, timeout_sec=cfg.TRAIN.RANK_TIMEOUT_SEC) as ranks:
        yield ranks


def pick_rank_device(cfg: CfgNode) -> torch.device:
    """Return the device of this rank; several ranks on a machine use one GPU each."""
    info = read_rank()
    return pick_device(cfg.DEVICE, local_rank=None if info.num_ranks == 1 else info.local_rank)


def open_run_directory(run: Run) -> None:
    """Check OUTPUT_DIR for this run and write config.yaml, unless a training has begun there.

    After that config.yaml stays as the first call wrote it, and the log lists the keys whose values
    differ in this call.

    Raises:
        InputError: The directory holds trainings of another config, or the package of one of
            TRAIN.LOGGERS is missing. Nothing is written then.
    """
    check_loggers(run.cfg.TRAIN.LOGGERS)
    run.plan.check_folders()
    if not run.ranks.is_first:
        return
    path = run.folder / CONFIG_NAME
    has_begun = any(run.folder.rglob(TRAINING_NAME))
    if not (has_begun and path.exists()):
        atomic_write_text(path, dump_config(run.cfg))
    differences = config_differences(run)
    if differences:
        texts = [f"{key} {new} (there: {old})" for key, (old, new) in differences.items()]
        logger.info("this call differs from %s: %s", path, ", ".join(texts))


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


def _check_batch_size(cfg: CfgNode, num_ranks: int) -> None:
    size, repeats = cfg.TRAIN.BATCH_SIZE, cfg.DATA.REPEATED_AUG
    if size // repeats % num_ranks:
        clips = "clips" if repeats == 1 else f"clips, {repeats} of each video,"
        raise InputError(
            f"TRAIN.BATCH_SIZE {size} {clips} cannot be shared equally by {num_ranks} processes; "
            f"choose a multiple of {num_ranks * repeats}"
        )
    num_parts = num_ranks * cfg.TRAIN.ACCUMULATE
    if size < 2 * num_parts:
        raise InputError(
            f"TRAIN.BATCH_SIZE {size} is less than two clips for each of {num_parts} parts: "
            f"{num_ranks} processes, TRAIN.ACCUMULATE {cfg.TRAIN.ACCUMULATE}"
        )


def _check_cache(cfg: CfgNode, num_ranks: int) -> None:
    # Each epoch assigns the videos to other ranks. On 8 ranks the cache answered a third of the
    # batches and kept nearly every view on every rank.
    if cfg.DISTILL.CACHE_GIB > 0 and num_ranks > 1:
        raise InputError(
            f"DISTILL.CACHE_GIB {cfg.DISTILL.CACHE_GIB} keeps what one process computed, and each "
            f"epoch deals the videos anew to {num_ranks} processes; set it to 0, or use one process"
        )
