"""Warnings of a dry run about settings that are known to learn badly; see docs/settings.md."""

from videokd.pipeline.run import Run
from videokd.pipeline.training import Training

_MIN_EPOCHS, _MIN_STEPS = 20, 200
_LARGE = 10_000  # videos; a data set of this size needs fewer epochs


def find_doubts(run: Run) -> list[str]:
    """Return one line for each setting of an experiment that is likely to learn badly."""
    return [*_find_lost_time(run), *_find_short_trainings(run)]


def _find_lost_time(run: Run) -> list[str]:
    """Find networks whose last level has a single step of time, so that order is lost early."""
    builder, doubts = run.plan.builder, {}
    for section in ("EXPERTS", "STUDENTS"):
        for name in run.datasets:
            clip, levels = builder.clip(section, name), builder.shapes(section, name).levels
            single = [level for level, (_, steps, _, _) in levels.items() if steps == 1]
            if clip.num_frames > 1 and single:
                arch = builder.architecture(section, name).name
                doubts[arch, clip.num_frames, single[0]] = f"{section}.{name}"
    return [
        f"{where}: {arch} leaves one step of time from {level} on for clips of {num_frames} "
        "frames, so that no order of events is left to see there; raise NUM_FRAMES, or choose an "
        "ARCH that shrinks time less, such as cnn3d_s"
        for (arch, num_frames, level), where in doubts.items()
    ]


def _find_short_trainings(run: Run) -> list[str]:
    doubts = []
    for training in run.plan.trainings:
        if not training.num_steps or not _is_from_scratch(run, training):
            continue
        num_videos = sum(len(run.datasets[name].train) for name in training.trained_on)
        is_short = training.num_epochs < _MIN_EPOCHS and num_videos < _LARGE
        if is_short or training.num_steps < _MIN_STEPS:
            doubts.append(
                f"{training.folder}: {training.num_epochs} epochs of {num_videos} videos are "
                f"{training.num_steps} steps from random weights; small data needs at least "
                f"{_MIN_EPOCHS} epochs and {_MIN_STEPS} steps; raise MAX_EPOCH, lower "
                "TRAIN.BATCH_SIZE, or start from WEIGHTS"
            )
    return doubts


def _is_from_scratch(run: Run, training: Training) -> bool:
    if training.stage == "experts":
        return bool(run.cfg.EXPERTS[training.tested_on[0]].WEIGHTS == "random")
    if training.stage == "students":
        is_random = run.cfg.STUDENTS[training.tested_on[0]].WEIGHTS == "random"
        return bool(is_random and run.cfg.DISTILL.INIT == "random")
    return False
