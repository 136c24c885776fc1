"""Builders of a dataset's indexes from the config, using lists or DATA.INDEX_DIR."""

import logging
from pathlib import Path

from fvcore.common.config import CfgNode

from videokd.data.lists.formats.finding import name_first
from videokd.data.lists.formats.read import FORMATS, read_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.data.lists.index import VideoIndex
from videokd.data.lists.index_store import (
    describe_unusable,
    find_bad_videos,
    index_key,
    open_indexes,
)
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)


def read_lists(cfg: CfgNode, name: str) -> dict[str, VideoIndex]:
    """Read the annotation lists of a dataset, even if all of its videos are missing.

    Args:
        cfg: The whole config.
        name: Name of the dataset.

    Returns:
        Split ("train", "test" and, if the dataset has one, "val") -> its index.

    Raises:
        InputError: folders or lists are wrong.
    """
    return _read_indexes(name, cfg.DATASETS[name], max_missing=1.0)


def index_folder(cfg: CfgNode, name: str) -> Path:
    """Return the folder in DATA.INDEX_DIR for a dataset with its current lists and options."""
    node = cfg.DATASETS[name]
    options = {key: value for key, value in node.items() if key != "LOSS_WEIGHT"}
    key = index_key(options, lists=Path(node.ANNOTATIONS) if node.ANNOTATIONS else None)
    return Path(cfg.DATA.INDEX_DIR) / name / key[:16]


def load_indexes(cfg: CfgNode, name: str) -> dict[str, VideoIndex]:
    """Return the indexes of a dataset's splits, from DATA.INDEX_DIR if set, else from its lists.

    Raises:
        InputError: folders or lists are wrong, DATA.INDEX_DIR has no index of these lists, or more
            videos are missing or unusable than allowed.
    """
    if not cfg.DATA.INDEX_DIR:
        return _read_indexes(name, cfg.DATASETS[name], cfg.DATA.MAX_BAD_FRACTION)
    indexes = open_indexes(index_folder(cfg, name), root=Path(cfg.DATASETS[name].ROOT))
    if not indexes:
        raise InputError(
            f"DATA.INDEX_DIR {cfg.DATA.INDEX_DIR} has no index of {name} with these options and "
            "lists; make it: videokd prepare index --config-file ..."
        )
    for split, index in indexes.items():
        _check_usable(f"{name} {split}", index, cfg.DATA.MAX_BAD_FRACTION)
    return indexes


def _check_usable(title: str, index: VideoIndex, max_bad: float) -> None:
    """Refuse a scanned index with too many unusable videos; log a warning if there are any."""
    unusable = describe_unusable(index)
    if not unusable:
        return
    num_bad, num_missing = len(find_bad_videos(index)), len(index.missing)
    if num_bad + num_missing > max_bad * (len(index) + num_missing):
        raise InputError(f"{title}: {unusable}; DATA.MAX_BAD_FRACTION allows {max_bad:g}")
    _logger.warning("%s: %s", title, unusable)


def _read_indexes(name: str, cfg: CfgNode, max_missing: float) -> dict[str, VideoIndex]:
    for key in ("ROOT", "ANNOTATIONS") if FORMATS[cfg.FORMAT].needs_annotations else ("ROOT",):
        if not cfg[key]:
            raise InputError(f"DATASETS.{name}.{key} is empty; set it to a folder of the dataset")
    spec = DatasetSpec(
        cfg.FORMAT,
        root=Path(cfg.ROOT),
        annotations=Path(cfg.ANNOTATIONS) if cfg.ANNOTATIONS else None,
        split_number=cfg.SPLIT,
        separator=cfg.SEPARATOR,
        group_pattern=cfg.GROUP_PATTERN,
        flip=cfg.FLIP,
        left_right_pairs=tuple((first, second) for first, second in cfg.LEFT_RIGHT_PAIRS),
    )
    indexes = read_dataset(spec, name=name)
    for split, index in indexes.items():
        num_listed = len(index) + len(index.missing)
        if len(index.missing) > max_missing * num_listed:
            raise InputError(
                f"{name} {split}: {len(index.missing)} of {num_listed} listed videos are missing "
                f"under {cfg.ROOT} ({name_first(index.missing)}); DATA.MAX_BAD_FRACTION allows "
                f"{max_missing:g}; `videokd prepare count` with --root and --missing FILE "
                "writes the whole list"
            )
    return indexes
