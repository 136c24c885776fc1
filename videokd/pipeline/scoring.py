"""Scoring of a plan's trainings. Existing scores are kept."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing

from torch import nn

from videokd.data.build import build_view_loader, build_view_plan, count_test_videos
from videokd.data.sampling import SEGMENT_CENTRES
from videokd.data.test_views import ViewBatch, ViewPlan
from videokd.engine.distributed import explain_lost_ranks
from videokd.evaluation.multi_view import Predictions, join_predictions, predict_views
from videokd.evaluation.results import read_result, write_result
from videokd.pipeline.progress import progress_bar
from videokd.pipeline.run import Run
from videokd.pipeline.training import Training
from videokd.utils.errors import InputError
from videokd.utils.io import sha256_json
from videokd.utils.log import log_duration

logger = logging.getLogger(__name__)


def score_training(run: Run, training: Training, split: str = "test") -> None:
    """Score a finished training on one split of its datasets; existing scores are kept.

    Args:
        run: The run.
        training: A training of the run's plan.
        split: "test", or "val" for the held-out videos, on which choices are made.

    Raises:
        InputError: A dataset has no held-out videos, or more unreadable videos than
            DATA.MAX_BAD_FRACTION allows.
    """
    model: nn.Module | None = None
    for name in training.tested_on:
        if run.ranks.broadcast(has_score(run, training, name, split)):
            continue
        model = model or run.plan.load_model(training).to(run.device)
        title = f"{split} {training.folder}" + (f" {name}" if len(training.tested_on) > 1 else "")
        with log_duration(title, logger=logger):
            predictions = predict_split(run, training, model, name, split, title=title)
        if not run.ranks.is_first:
            continue
        result = write_result(
            run.plan.path(training),
            run.datasets[name].index(split),
            predictions,
            build_view_plan(run.cfg),
            clip=training.clips.main,
            fingerprint=score_fingerprint(run, training, name, split),
            split=split,
        )
        logger.debug(
            "%s: top-1 %.2f %%, top-5 %.2f %%, mean over classes %.2f %%, %d of %d videos",
            *(title, result["top1"], result["top5"], result["mean_class_accuracy"]),
            *(result["num_used"], result["num_videos"] + result["num_missing"]),
        )


def is_scored(run: Run, training: Training, split: str = "test") -> bool:
    """Return whether all scores of a training exist.

    Raises:
        InputError: A dataset has no such split.
    """
    return all(has_score(run, training, name, split) for name in training.tested_on)


def predict_split(
    run: Run,
    training: Training,
    model: nn.Module,
    name: str,
    split: str = "test",
    *,
    title: str = "test",
) -> Predictions:
    """Return a model's predictions for all test views of a dataset, with a progress bar.

    Args:
        run: The run.
        training: The training whose clip specs the model uses.
        model: The model, on the run's device.
        name: Name of the dataset.
        split: "test" or "val".
        title: Title of the progress bar.

    Raises:
        InputError: More videos are unreadable than DATA.MAX_BAD_FRACTION allows.
    """
    views, total = build_view_plan(run.cfg), len(run.datasets[name].index(split))
    ranks = run.ranks
    with explain_lost_ranks(ranks), ranks.watched(), progress_bar(run.console, title, total) as bar:

        def after_batch(num_done: int) -> None:
            bar.update(min(num_done * ranks.num_ranks, total), "")

        predictions = _predict(run, training, model, name, split, views, after_batch=after_batch)
    _check_bad(run, name, split, predictions)
    for video in predictions.bad:
        logger.warning("%s %s: left out %s: %s", name, split, video.path, video.cause)
    if not len(predictions.labels):
        raise InputError(f"{name} {split}: no video to score; set DATA.VAL_FRACTION higher")
    return predictions


def validate_training(run: Run, training: Training, model: nn.Module) -> dict[str, float]:
    """Return the ``val_top1_<dataset>`` of a model during training, in percent.

    Validation uses one centre view per video; the test uses all views.
    """
    line = {}
    for name in training.tested_on or training.trained_on:
        predictions = _predict(run, training, model, name, "val", ViewPlan(1, 1, SEGMENT_CENTRES))
        _check_bad(run, name, "val", predictions)
        if len(predictions.labels):
            line[f"val_top1_{name}"] = predictions.scores()["top1"]
    return line


def score_fingerprint(run: Run, training: Training, name: str, split: str) -> str:
    """Return a hash of all that a score depends on: network, views and videos."""
    views = build_view_plan(run.cfg)
    videos = run.datasets[name].index(split).digest()
    return sha256_json(
        [training.fingerprint, views.num_clips, views.num_crops, views.clip_rule, videos]
    )


def has_score(run: Run, training: Training, name: str, split: str) -> bool:
    """Return whether a score on one dataset exists."""
    known = read_result(run.plan.path(training), name, split)
    if known is None:
        return False
    return bool(known.get("fingerprint") == score_fingerprint(run, training, name, split))


def _predict(
    run: Run,
    training: Training,
    model: nn.Module,
    name: str,
    split: str,
    views: ViewPlan,
    *,
    after_batch: Callable[[int], None] = lambda _: None,
) -> Predictions:
    """Predict a split, each rank its own batches; a signal to any rank stops all ranks."""
    batches = build_view_loader(
        run.cfg,
        run.datasets[name],
        split,
        clips=training.clips,
        views=views,
        workers=run.loader_workers,
    )
    size = count_test_videos(run.cfg, views, training.clips)
    num_batches = -(-len(run.datasets[name].index(split)) // size)
    num_rounds = -(-num_batches // run.ranks.num_ranks)
    with closing(batches):
        local = predict_views(
            model,
            name,
            _in_rounds(run, batches, num_rounds),
            device=run.device,
            after_batch=after_batch,
        )
    return join_predictions(run.ranks.gather(local))


def _in_rounds(run: Run, batches: Iterator[ViewBatch], num_rounds: int) -> Iterator[ViewBatch]:
    """Yield this rank's batches and synchronise all ranks after each.

    Ranks with one batch less take split in the last round too.
    """
    for _ in range(num_rounds):
        batch = next(batches, None)
        if batch is not None:
            yield batch
        run.ranks.alive()
        run.raise_if_stopped()


def _check_bad(run: Run, name: str, split: str, predictions: Predictions) -> None:
    num_videos = len(run.datasets[name].index(split))
    is_over = len(predictions.bad) > run.cfg.DATA.MAX_BAD_FRACTION * num_videos
    if is_over or (split == "test" and not len(predictions.labels)):
        first = predictions.bad[0]
        raise InputError(
            f"{name} {split}: {len(predictions.bad)} of {num_videos} videos cannot be read (first: "
            f"{first.path}: {first.cause}); DATA.MAX_BAD_FRACTION allows "
            f"{run.cfg.DATA.MAX_BAD_FRACTION:g}"
        )
