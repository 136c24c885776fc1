"""From a config to a Run: data generated, read and cached, threads set, the plan made."""

import logging
from collections.abc import Collection, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.config import dump_config
from videokd.data.build import DatasetParts, build_datasets, build_frame_caches
from videokd.data.synthetic import generate_datasets
from videokd.engine.distributed import ONE_RANK, Ranks, join_ranks, read_place
from videokd.engine.mirrors import check_loggers
from videokd.engine.stop import StopRequest
from videokd.models.build import fill_model_inputs
from videokd.pipeline.plan import ExperimentPlan
from videokd.pipeline.progress import Bar, progress_bar
from videokd.pipeline.provenance import CONFIG_NAME, config_differences
from videokd.pipeline.run import Run
from videokd.utils.class_names import TRAINING_NAME
from videokd.utils.env import (
    allow_tf32,
    num_available_cores,
    pick_device,
    plan_threads,
)
from videokd.utils.errors import InputError
from videokd.utils.io import atomic_write_text

logger = logging.getLogger(__name__)


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
        console: For the progress bars.
        stop: Asked between videos.
        is_dry: Decode no videos and load no weights; datasets need not be there.
        frames_of: "train" (with its held-out part), "test", both or neither: what is decoded
            ahead, where the config has a frame cache.
        store: See ``ExperimentPlan``.
        ranks: The processes that share the work; the first alone generates and decodes ahead.

    Raises:
        InputError: Something in the config does not fit the data, the machine or the networks.
        Stopped: A signal came.
    """
    cfg = fill_model_inputs(cfg)
    _check_parts(cfg, ranks.num_ranks)
    _check_sharding(cfg)
    _check_cache(cfg, ranks.num_ranks)
    num_workers, num_threads = plan_threads(
        cfg.DATA_LOADER.NUM_WORKERS,
        cfg.DATA_LOADER.NUM_THREADS,
        num_processes=ranks.place.num_local_ranks,
    )
    torch.set_num_threads(num_threads)
    allow_tf32(cfg.TRAIN.TF32)
    folder = Path(cfg.OUTPUT_DIR)
    device = pick_rank_device(cfg)
    with ranks.first_alone():
        datasets = prepare_datasets(cfg, console, stop, allows_absent=is_dry)
    # The plan is checked before minutes go into decoding.
    plan = ExperimentPlan(cfg, datasets, folder, store=store, is_dry=is_dry)
    if not is_dry:
        with ranks.first_alone():
            datasets = _cache_frames(cfg, datasets, frames_of, console, stop)
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
    """Meet the other processes that torchrun or SLURM started, if any, and part at the end.

    Raises:
        RunError: They do not come.
    """
    device = pick_rank_device(cfg)
    with join_ranks(device, timeout_sec=cfg.TRAIN.RANK_TIMEOUT_SEC) as ranks:
        yield ranks


def pick_rank_device(cfg: CfgNode) -> torch.device:
    """Return the device of this process: of several on a machine, each has a GPU of its own."""
    place = read_place()
    return pick_device(cfg.DEVICE, local_rank=None if place.num_ranks == 1 else place.local_rank)


def open_run_directory(run: Run) -> None:
    """Make OUTPUT_DIR the directory of this run: write config.yaml, unless a training is there.

    Where one is, config.yaml stays as the call that began it wrote it, and the log names the keys
    in which this call differs.

    Raises:
        InputError: It holds trainings of another config, or the package of one of TRAIN.LOGGERS
            is missing; nothing is written then.
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


def _check_parts(cfg: CfgNode, num_ranks: int) -> None:
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
    # Each epoch deals the videos to other ranks: on 8 of them a cache answered a third of the
    # batches, and kept nearly every view on every rank.
    if cfg.DISTILL.CACHE_GIB > 0 and num_ranks > 1:
        raise InputError(
            f"DISTILL.CACHE_GIB {cfg.DISTILL.CACHE_GIB} keeps what one process computed, and each "
            f"epoch deals the videos anew to {num_ranks} processes; set it to 0, or use one process"
        )


def _check_sharding(cfg: CfgNode) -> None:
    if not cfg.TRAIN.SHARD_WEIGHTS:
        return
    unwanted = {"SOLVER.EMA_DECAY": (cfg.SOLVER.EMA_DECAY > 0, "0")}
    for section in ("EXPERTS", "STUDENTS"):
        for name, node in cfg[section].items():
            is_trained = node.TRAIN or cfg.JOINT.FINE_TUNE != "none"
            is_fp16 = is_trained and node.PRECISION == "fp16"
            unwanted[f"{section}.{name}.PRECISION"] = (is_fp16, "bf16 or float32")
            unwanted[f"{section}.{name}.COMPILE"] = (is_trained and node.COMPILE, "False")
    for key, (is_set, choice) in unwanted.items():
        if is_set:
            raise InputError(
                f"TRAIN.SHARD_WEIGHTS does not go with this {key} yet; set it to {choice}, or "
                "TRAIN.SHARD_WEIGHTS to False"
            )


def prepare_datasets(
    cfg: CfgNode, console: Console, stop: StopRequest, *, allows_absent: bool = False
) -> dict[str, DatasetParts]:
    """Return the datasets of a config; the embedded ones are generated first.

    Args:
        cfg: The whole config.
        console: For the progress bars.
        stop: Asked between videos.
        allows_absent: See ``build_datasets``.

    Raises:
        InputError: Something is wrong with folders or lists.
        Stopped: A signal came.
    """
    if cfg.SYNTHETIC.ROOT:
        node = cfg.SYNTHETIC
        generate_synthetic(node.ROOT, node.PROFILE, console, stop, seed=node.SEED)
    stop.raise_if_set()
    return build_datasets(cfg, allows_absent=allows_absent)


def generate_synthetic(
    root: str, profile: str, console: Console, stop: StopRequest, *, seed: int = 0
) -> None:
    """Generate the embedded datasets under ``root``, unless they are there already.

    Raises:
        Stopped: A signal came; the same call goes on.
    """
    with _lazy_bar(console, stop) as bar:
        generate_datasets(
            Path(root),
            profile=profile,
            seed=seed,
            num_processes=num_available_cores(),
            on_progress=lambda done, total: bar.update("generate videos", done, total),
        )


def _cache_frames(
    cfg: CfgNode,
    datasets: dict[str, DatasetParts],
    subsets: Collection[str],
    console: Console,
    stop: StopRequest,
) -> dict[str, DatasetParts]:
    with _lazy_bar(console, stop) as bar:
        return build_frame_caches(
            cfg,
            datasets,
            subsets=subsets,
            num_processes=num_available_cores(),
            on_progress=lambda name, done, total: bar.update(f"decode {name}", done, total),
        )


@contextmanager
def _lazy_bar(console: Console, stop: StopRequest) -> Iterator["_LazyBar"]:
    with ExitStack() as stack:
        try:
            yield _LazyBar(console, stop, stack)
        except (BrokenProcessPool, KeyboardInterrupt):
            # The signal reached the processes too.
            stop.raise_if_set()
            raise


class _LazyBar:
    """A progress bar that appears with the first report, and anew when the name changes."""

    def __init__(self, console: Console, stop: StopRequest, stack: ExitStack) -> None:
        self._console = console
        self._stop = stop
        self._stack = stack
        self._name = ""
        self._bar: Bar | None = None

    def update(self, name: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done in the part called ``name``."""
        if self._bar is None or name != self._name:
            self._stack.close()
            self._name = name
            self._bar = self._stack.enter_context(progress_bar(self._console, name, total))
        self._bar.update(done, "")
        self._stop.raise_if_set()
