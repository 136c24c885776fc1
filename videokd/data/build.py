"""Builders of datasets, caches, batch plans and loaders from the config."""

import logging
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from fvcore.common.config import CfgNode

from videokd.config import named_node
from videokd.data.augment import AugmentSpec, RandAugment, RandomErasing
from videokd.data.batch import ClipBatch, collate
from videokd.data.batch_plan import BatchPlan, PlanSampler
from videokd.data.clip_spec import ClipSet, ClipSpec
from videokd.data.dataset import ClipDataset
from videokd.data.frame_cache import FrameCache
from videokd.data.frame_cache_writer import write_frame_cache
from videokd.data.lists.build import load_indexes
from videokd.data.lists.index import VideoIndex, hold_out_groups
from videokd.data.lists.stand_in import make_stand_in
from videokd.data.loader import LoadingOptions, Losses, iterate_batches
from videokd.data.test_views import ViewBatch, ViewDataset, ViewPlan, collate_views
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetSplits:
    """Train, val and test indexes of one dataset."""

    name: str
    train: VideoIndex
    val: VideoIndex | None
    """The dataset's own validation split, else groups held out of train; None when the dataset has
    none and DATA.VAL_FRACTION is 0."""
    test: VideoIndex
    caches: Mapping[str, FrameCache] | None = None
    """Part name ("train", "val", "test") -> its decoded frames; None to decode on every access."""
    losses: Losses = field(default_factory=dict)
    """Causes of worker losses by video; a video with two losses is not tried again."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.train.num_classes

    def describe(self) -> str:
        """Return a one-line summary of the number of videos and the origin of each split."""
        splits = {"training": self.train, "validation": self.val, "test": self.test}
        return ", ".join(
            f"{split} none" if index is None else f"{split} {len(index)} ({index.split})"
            for split, index in splits.items()
        )

    def index(self, split: str) -> VideoIndex:
        """Return the index of "train", "val" or "test"."""
        index = {"train": self.train, "val": self.val, "test": self.test}[split]
        if index is None:
            raise InputError(f"{self.name} has no {split} split; set DATA.VAL_FRACTION above 0")
        return index


@dataclass(frozen=True)
class LoaderWorkers:
    """Worker settings, and the rank that the batches are for."""

    num_workers: int
    """Loader processes, one thread each."""
    worker_init: Callable[[int], None]
    """Called with the worker number in each loader process."""
    pin_memory: bool
    """Whether batches are copied to a GPU."""
    rank: int = 0
    num_ranks: int = 1


def build_datasets(cfg: CfgNode, *, allows_absent: bool = False) -> dict[str, DatasetSplits]:
    """Load the indexes of all DATASETS and hold out missing validation splits.

    Indexes come from DATA.INDEX_DIR if it is set, else from the annotation lists.

    Args:
        cfg: The whole config.
        allows_absent: Use a stand-in with the published sizes for a dataset whose folder does not
            exist.

    Raises:
        InputError: folders or lists are wrong, DATA.INDEX_DIR has no index of these lists, or more
            videos are missing or unusable than allowed.
    """
    datasets = {}
    for name in cfg.DATASETS:
        node = cfg.DATASETS[name]
        if allows_absent and node.ROOT and not Path(node.ROOT).exists():
            train, test = make_stand_in(name, format=node.FORMAT, root=Path(node.ROOT))
            indexes = {"train": train, "test": test}
        else:
            indexes = load_indexes(cfg, name)
        datasets[name] = _make_splits(cfg, name, indexes)
    return datasets


def _make_splits(cfg: CfgNode, name: str, indexes: Mapping[str, VideoIndex]) -> DatasetSplits:
    """Hold out a val split if the dataset has none, and log the origin of all splits."""
    fraction, train, val = cfg.DATA.VAL_FRACTION, indexes["train"], indexes.get("val")
    for split, index in indexes.items():
        if index.class_names != train.class_names:
            raise InputError(
                f"{name}: the classes of train and {split} differ ({train.num_classes} and "
                f"{index.num_classes}, or in another order); make the index of {name} anew"
            )
    note = f"; DATA.VAL_FRACTION {fraction:g} is not used" if val is not None and fraction else ""
    if val is None and fraction:
        train, val = hold_out_groups(train, fraction=fraction, seed=cfg.SEED)
    splits = DatasetSplits(name, train, val, indexes["test"])
    _logger.info("%s: %s%s", name, splits.describe(), note)
    return splits


def build_frame_caches(
    cfg: CfgNode,
    datasets: Mapping[str, DatasetSplits],
    *,
    subsets: Collection[str] = ("train", "test"),
    num_processes: int,
    on_progress: Callable[[str, int, int], None],
) -> dict[str, DatasetSplits]:
    """Decode all videos into DATA.FRAME_CACHE and return the datasets with their caches.

    Without DATA.FRAME_CACHE the datasets are returned unchanged.

    Args:
        cfg: The whole config.
        datasets: Datasets from ``build_datasets``.
        subsets: Parts to decode: "train" (includes the held-out videos), "test", or both.
        num_processes: Decoding processes.
        on_progress: Called as on_progress(dataset and split, videos done, videos in total).
    """
    if not cfg.DATA.FRAME_CACHE or not subsets:
        return dict(datasets)
    cached = {}
    for name, splits in datasets.items():
        # Train and val share one cache: the seed decides which video is in which.
        held_out = splits.val.records if splits.val is not None else ()
        records = sorted([*splits.train.records, *held_out], key=lambda record: record.path)
        whole = {"train": replace(splits.train, records=tuple(records)), "test": splits.test}
        caches = {
            split: write_frame_cache(
                index,
                directory=Path(cfg.DATA.FRAME_CACHE),
                short_side=cfg.DATA.SHORT_SIDE,
                max_gib=cfg.DATA.FRAME_CACHE_MAX_GIB,
                num_processes=num_processes,
                deadline_sec=cfg.DATA_LOADER.TIMEOUT_SEC,
                backend=cfg.DATA.DECODER,
                on_progress=partial(on_progress, f"{name} {split}"),
            )
            for split, index in whole.items()
            if split in subsets
        }
        if "train" in caches:
            caches["val"] = caches["train"]
        cached[name] = replace(splits, caches=caches)
    return cached


def build_batch_plan(cfg: CfgNode, datasets: Sequence[DatasetSplits]) -> BatchPlan:
    """Build the plan of which training record comes at which step.

    Raises:
        InputError: The datasets do not fill one batch.
    """
    num_videos = sum(len(d.train) for d in datasets)
    if num_videos < cfg.TRAIN.BATCH_SIZE:
        raise InputError(
            f"TRAIN.BATCH_SIZE {cfg.TRAIN.BATCH_SIZE} must be <= {num_videos}, the training "
            f"videos of {', '.join(d.name for d in datasets)}"
        )
    return BatchPlan(
        [len(d.train) for d in datasets],
        batch_size=cfg.TRAIN.BATCH_SIZE,
        seed=cfg.SEED,
        mix=cfg.DATA.MIX,
        temperature=cfg.DATA.MIX_TEMPERATURE,
        repeats=cfg.DATA.REPEATED_AUG,
    )


def build_train_loader(
    cfg: CfgNode,
    datasets: Sequence[DatasetSplits],
    *,
    clips: ClipSet,
    num_steps: int,
    workers: LoaderWorkers,
) -> Callable[[int], Generator[ClipBatch, None, None]]:
    """Return a function from a first step to a generator of the batches up to ``num_steps``.

    The caller closes the generator.

    Args:
        cfg: The whole config.
        datasets: Datasets that the batches are drawn from; their order defines ``dataset_ids``.
        clips: Clips to cut at each moment.
        num_steps: Steps of the whole training.
        workers: Worker settings and rank; each rank gets its part of every batch.
    """
    plan = build_batch_plan(cfg, datasets)
    dataset = ClipDataset(
        [d.train for d in datasets],
        clip=clips,
        augment=build_augment(cfg),
        seed=cfg.SEED,
        backend=cfg.DATA.DECODER,
        caches=_split_caches(datasets, "train"),
        views_per_video=cfg.DATA.VIEWS_PER_VIDEO,
        cuts_on_device=cfg.DATA.AUGMENT_ON == "device",
    )

    options = _loading_options(cfg, workers)

    def make_loader(start_step: int) -> Generator[ClipBatch, None, None]:
        return iterate_batches(
            dataset,
            PlanSampler(
                plan,
                start_step,
                num_steps - start_step,
                rank=workers.rank,
                num_ranks=workers.num_ranks,
            ),
            collate=collate,
            options=options,
            losses=[d.losses for d in datasets],
        )

    return make_loader


def build_view_plan(cfg: CfgNode) -> ViewPlan:
    """Return the plan of the test views that videos are scored on."""
    test = cfg.TEST
    return ViewPlan(test.NUM_ENSEMBLE_VIEWS, test.NUM_SPATIAL_CROPS, test.CLIP_RULE)


def build_view_loader(
    cfg: CfgNode,
    splits: DatasetSplits,
    split: str,
    *,
    clips: ClipSet,
    views: ViewPlan,
    workers: LoaderWorkers,
) -> Generator[ViewBatch, None, None]:
    """Yield all test views of every video of a split, ``count_test_videos`` videos per batch.

    With several ranks, each rank gets every num_ranks-th batch. Batches do not depend on the number
    of ranks, so scores are bit-identical, and no batch is repeated.

    Close the generator if it is not exhausted. For ``clips`` see ``build_train_loader``.
    """
    dataset = ViewDataset(
        splits.index(split),
        dataset_id=0,
        clip=clips,
        num_clips=views.num_clips,
        num_crops=views.num_crops,
        clip_rule=views.clip_rule,
        backend=cfg.DATA.DECODER,
        cache=splits.caches[split] if splits.caches is not None else None,
    )
    size = count_test_videos(cfg, views, clips)
    batches = [range(i, min(i + size, len(dataset))) for i in range(0, len(dataset), size)]
    return iterate_batches(
        dataset,
        batches[workers.rank :: workers.num_ranks],
        collate=collate_views,
        options=_loading_options(cfg, workers),
        losses=[splits.losses],
    )


def count_test_videos(cfg: CfgNode, views: ViewPlan, clips: ClipSet) -> int:
    """Return the videos per test batch: ``TEST.BATCH_SIZE``, or fewer with many views per video."""
    return views.count_videos(clips, most=cfg.TEST.BATCH_SIZE)


def build_augment(cfg: CfgNode) -> AugmentSpec:
    """Build the distribution that training augmentations are drawn from."""
    data, aug = cfg.DATA, cfg.AUG
    ops = erasing = None
    if aug.RAND_NUM_OPS:
        ops = RandAugment(num_ops=aug.RAND_NUM_OPS, magnitude=aug.RAND_MAGNITUDE)
    if aug.ERASE_PROBABILITY:
        erasing = RandomErasing(aug.ERASE_PROBABILITY)
    return AugmentSpec(
        scale_range=tuple(data.TRAIN_SCALE_RANGE),
        ratio_range=tuple(data.TRAIN_RATIO_RANGE),
        crop_shape=data.CROP_SHAPE,
        flip=data.RANDOM_FLIP,
        color_jitter=data.COLOR_JITTER,
        saturation_jitter=aug.SATURATION_JITTER,
        jitter_scales=tuple(data.TRAIN_JITTER_SCALES) or None,
        jitter_crop_size=data.CROP_SIZE if data.TRAIN_JITTER_SCALES else 0,
        rand_augment=ops,
        erasing=erasing,
    )


def build_clip_spec(cfg: CfgNode, node: CfgNode | None = None) -> ClipSpec:
    """Return the shape of the clips that a network takes.

    Args:
        cfg: The whole config.
        node: EXPERTS.<NAME> or STUDENTS.<NAME>; its zeros mean the value in DATA. None for DATA.
    """
    data = cfg.DATA
    own = node or named_node("STUDENTS")
    crop_size = own.CROP_SIZE or data.CROP_SIZE
    return ClipSpec(
        num_frames=own.NUM_FRAMES or data.NUM_FRAMES,
        sampling_rate=own.SAMPLING_RATE or data.SAMPLING_RATE,
        crop_size=crop_size,
        short_side=data.SHORT_SIDE,
        # All networks share one box; box_size 0 means that the crop needs no resizing.
        box_size=0 if crop_size == data.CROP_SIZE else data.CROP_SIZE,
        sampler=data.SAMPLER,
        target_fps=data.TARGET_FPS,
        short_video=data.SHORT_VIDEO,
        crop_shape=data.CROP_SHAPE,
    )


def _loading_options(cfg: CfgNode, workers: LoaderWorkers) -> LoadingOptions:
    return LoadingOptions(
        workers.num_workers, cfg.DATA_LOADER.TIMEOUT_SEC, workers.worker_init, workers.pin_memory
    )


def _split_caches(datasets: Sequence[DatasetSplits], split: str) -> list[FrameCache] | None:
    caches = [d.caches[split] for d in datasets if d.caches is not None]
    return caches or None
