"""`videokd prepare preview`: draw the clips of a config before any training."""

import argparse
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.cli.common import add_config_arguments, load_config_of, path_argument
from videokd.utils.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from videokd.cli.prepare.contact_sheet import Row
    from videokd.data.augment import Augmentation
    from videokd.data.batch import BadVideo
    from videokd.data.build import DatasetSplits
    from videokd.data.lists.index import VideoIndex
    from videokd.data.test_views import ViewPlan

HELP = "draw the clips that sampler and augmentation give for a config, as a PNG contact sheet"

_MAX_VIEWS = 9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config, --output, --split, --dataset, --num and --seed."""
    add_config_arguments(parser)
    parser.add_argument("--output", required=True, type=path_argument, metavar="FILE.png")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train")
    parser.add_argument("--dataset", metavar="NAME", help="default: all, one after the other")
    parser.add_argument("--num", type=int, default=8, metavar="N", help="videos per dataset")
    parser.add_argument("--seed", type=int, help="default: SEED of the config")


def run(args: argparse.Namespace, console: Console) -> int:
    """Draw the first training clips of the students, or the views of their test videos."""
    from videokd.cli.prepare.contact_sheet import draw_sheet
    from videokd.config import override_config
    from videokd.engine.stop import StopRequest
    from videokd.models.build import fill_model_inputs
    from videokd.pipeline.datasets import prepare_datasets

    if args.num < 1:
        raise InputError(f"--num must be > 0, got {args.num}")
    if args.output.suffix.lower() != ".png":
        raise InputError(f"--output must end with .png, got {args.output}")
    cfg = fill_model_inputs(load_config_of(args))
    if args.seed is not None:
        cfg = override_config(cfg, ["SEED", args.seed], source="--seed")
    draw = _draw_training if args.split == "train" else partial(_draw_views, split=args.split)
    rows = []
    with StopRequest() as stop:
        datasets = prepare_datasets(cfg, console, stop)
        names = [args.dataset] if args.dataset else list(datasets)
        if names[0] not in datasets:
            raise InputError(f"no dataset {names[0]!r}; there are {', '.join(datasets)}")
        for name in names:
            with closing(draw(cfg, datasets[name], num_videos=args.num)) as drawn:
                for row in islice(drawn, args.num):
                    rows.append(row)
                    stop.raise_if_set()
    sheet = draw_sheet(rows, f"{args.config_file}: {args.split}, seed {cfg.SEED}")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.output)
    console.print(f"{len(rows)} videos drawn: {args.output}", highlight=False, soft_wrap=True)
    return 0


def _draw_training(
    cfg: CfgNode, splits: "DatasetSplits", *, num_videos: int
) -> "Generator[Row, None, None]":
    """Draw the first clips that a student sees when it is trained alone."""
    from videokd.cli.prepare.contact_sheet import Row, Strip
    from videokd.data.build import LoaderWorkers, build_clip_spec, build_train_loader
    from videokd.data.clip_spec import ClipSet
    from videokd.engine.stop import ignore_signals

    spec = build_clip_spec(cfg, cfg.STUDENTS[splits.name])
    make_loader = build_train_loader(
        cfg,
        [splits],
        clips=ClipSet(spec, plain=(spec,)),
        num_steps=-(-num_videos // cfg.TRAIN.BATCH_SIZE),
        workers=LoaderWorkers(0, ignore_signals, pin_memory=False),
    )
    with closing(make_loader(0)) as batches:
        for loaded in batches:
            batch = loaded.to("cpu")  # if the device cuts the clips, it happens here
            for n, augmentation in enumerate(batch.augmentations):
                plain = Strip("plain", _to_frames(batch.plain_clips[spec.name][n]))
                augmented = Strip("augmented", _to_frames(batch.main[n]))
                path = splits.train.records[int(batch.record_ids[n])].path
                yield Row(
                    _describe(splits.train, int(batch.labels[n]), path),
                    _describe_augmentation(augmentation),
                    tuple(batch.frame_indices[n].tolist()),
                    (plain, augmented),
                )
            yield from _describe_bad(batch.bad, splits.name)


def _draw_views(
    cfg: CfgNode, splits: "DatasetSplits", *, num_videos: int, split: str
) -> "Generator[Row, None, None]":
    """Draw the views that score a student, of videos chosen by the seed."""
    import numpy as np

    from videokd.data.build import (
        LoaderWorkers,
        build_clip_spec,
        build_view_loader,
        build_view_plan,
    )
    from videokd.data.clip_spec import ClipSet
    from videokd.engine.stop import ignore_signals

    index = splits.index(split)
    order = np.random.default_rng(cfg.SEED).permutation(len(index))[:num_videos]
    index = replace(index, records=tuple(index.records[int(place)] for place in sorted(order)))
    plan, spec = build_view_plan(cfg), build_clip_spec(cfg, cfg.STUDENTS[splits.name])
    loader = build_view_loader(
        cfg,
        replace(splits, val=index) if split == "val" else replace(splits, test=index),
        split,
        clips=ClipSet(spec),
        views=plan,
        workers=LoaderWorkers(0, ignore_signals, pin_memory=False),
    )
    with closing(loader) as batches:
        for batch in batches:
            if len(batch):
                views = batch.clips[spec.name].split(batch.counts.tolist())
                for record_id, clips in zip(batch.record_ids.tolist(), views, strict=True):
                    record = index.records[record_id]
                    yield _draw_video(_describe(index, record.label, record.path), clips, plan)
            yield from _describe_bad(batch.bad, splits.name)


def _draw_video(title: str, clips: "Tensor", plan: "ViewPlan") -> "Row":
    """Draw up to nine views of a video, (V, 3, T, H, W)."""
    import numpy as np

    from videokd.cli.prepare.contact_sheet import Row, Strip

    shown = np.linspace(0, len(clips) - 1, min(len(clips), _MAX_VIEWS)).round().astype(int)
    strips = tuple(
        Strip(f"clip {n // plan.num_crops} crop {n % plan.num_crops}", _to_frames(clips[n]))
        for n in shown.tolist()
    )
    views = f"{plan.num_clips} clips x {plan.num_crops} crops, {plan.clip_rule}"
    detail = f"{views}; {len(strips)} of these views"
    return Row(title, detail, (), strips)


def _describe(index: "VideoIndex", label: int, path: str) -> str:
    return f"{index.dataset}   {index.class_names[label]}   {path}"


def _describe_bad(bad: "Sequence[BadVideo]", dataset: str) -> "Iterator[Row]":
    from videokd.cli.prepare.contact_sheet import Row

    for video in bad:
        yield Row(f"{dataset}   {video.path}", f"cannot be read: {video.cause}")


def _describe_augmentation(augmentation: "Augmentation") -> str:
    """Return a text with the parameters of an augmentation that have an effect."""
    top, left, height, width = augmentation.crop
    texts = [f"crop {width}x{height} at x {left}, y {top}"]
    if augmentation.flip:
        texts.append("flip")
    for name in ("brightness", "contrast", "saturation"):
        if getattr(augmentation, name) != 1.0:
            texts.append(f"{name} {getattr(augmentation, name):.2f}")
    texts += [f"{name} {value:.3g}" for name, value in augmentation.ops]
    if augmentation.erasings:
        texts.append(f"{len(augmentation.erasings)} erased")
    return "   ".join(texts)


def _to_frames(clip: "Tensor") -> "NDArray[np.uint8]":
    """Convert (3, T, H, W) to (T, H, W, 3)."""
    frames: NDArray[np.uint8] = clip.permute(1, 2, 3, 0).numpy()
    return frames
