"""Dry run of an experiment: sizes, shapes, number of steps and their cost, without training."""

from typing import cast

from rich.table import Table

from videokd.data.lists.stand_in import SPLIT
from videokd.fusion.describe import describe_joint_teacher
from videokd.fusion.joint_teacher import JointTeacher
from videokd.models.levels import LEVEL_NAMES
from videokd.pipeline.advice import find_doubts
from videokd.pipeline.run import Run
from videokd.pipeline.step_cost import GIB, NUM_CLIPS, advise, count_clips_at_once, measure_step
from videokd.utils.env import device_memory_bytes
from videokd.utils.errors import RunError


def show_dry_run(run: Run) -> None:
    """Build every network of the experiment and print its data, shapes and cost.

    One step of each training runs on generated clips, so that a failing step is found before the
    real training starts.

    Raises:
        RunError: A training does not fit into the memory of the device, or its step fails.
    """
    run.console.print(_dataset_table(run))
    run.console.print(_level_table(run))
    for training in run.plan.trainings:
        if training.key == "joint":
            run.console.print(
                make_fusion_table(cast(JointTeacher, training.build_model()), training.folder)
            )
    run.console.print(_training_table(run))
    for doubt in find_doubts(run):
        run.console.print(f"warning: {doubt}", style="yellow", soft_wrap=True)
    _show_costs(run)


def make_fusion_table(teacher: JointTeacher, title: str) -> Table:
    """Build a table with one row per adaptor, fused level and embedding: shapes and parameters."""
    table = Table(title=f"{title}: {teacher.options.topology}, adaptors and fused levels")
    for column in ("level", "expert", "in (C x T x H x W)", "out", "parameters"):
        table.add_column(column, justify="left" if column in ("level", "expert") else "right")
    for row in describe_joint_teacher(teacher):
        shapes = ("x".join(map(str, shape)) for shape in (row.in_shape, row.out_shape))
        expert = row.expert or "fused"
        table.add_row(row.level, expert, *shapes, f"{row.num_parameters:,}")
    return table


def _dataset_table(run: Run) -> Table:
    table = Table(title="Datasets (videos)")
    texts = ("dataset", "from (train / val / test)")
    for column in ("dataset", "classes", "train", "val", "test", "missing", texts[1]):
        table.add_column(column, justify="left" if column in texts else "right")
    for name, splits in run.datasets.items():
        indexes = [index for index in (splits.train, splits.val, splits.test) if index is not None]
        missing = sum(len(index.missing) for index in indexes)
        num_val = 0 if splits.val is None else len(splits.val)
        counts = (splits.num_classes, len(splits.train), num_val, len(splits.test), missing)
        title = f"{name} ({SPLIT}: as published)" if splits.test.split == SPLIT else name
        table.add_row(title, *map(str, counts), " / ".join(index.split for index in indexes))
    return table


def _level_table(run: Run) -> Table:
    builder = run.plan.builder
    table = Table(title="Levels: C x T x H x W (fused ones marked *)")
    fused = run.cfg.JOINT.LEVELS
    table.add_column("network")
    table.add_column("clip (frames x rate x px)", justify="right")
    for level in LEVEL_NAMES:
        table.add_column(level + ("*" if level in fused else ""), justify="right")
    table.add_column("embedding*", justify="right")
    for section in ("EXPERTS", "STUDENTS"):
        for name in run.datasets:
            shapes = builder.shapes(section, name)
            maps = ["x".join(map(str, shapes.levels[level])) for level in LEVEL_NAMES]
            title = f"{section}.{name} {builder.architecture(section, name).name}"
            clip = builder.clip(section, name).name
            table.add_row(title, clip, *maps, str(shapes.embedding_dim))
    return table


def _training_table(run: Run) -> Table:
    table = Table(
        title="Trainings",
        caption="Passes: the forward of one clip through the first student is 1.",
    )
    for column in ("folder", "trained on", "epochs", "steps", "thousand passes", "parameters"):
        table.add_column(column, justify="left" if column in ("folder", "trained on") else "right")
    for training in run.plan.trainings:
        model = training.build_model()
        table.add_row(
            training.folder,
            ", ".join(training.trained_on),
            str(training.num_epochs),
            str(training.num_steps),
            f"{run.plan.meter.of_training(training) / 1000:,.0f}",
            f"{sum(p.numel() for p in model.parameters()):,}",
        )
    return table


def _show_costs(run: Run) -> None:
    num_clips, memory = count_clips_at_once(run.cfg), device_memory_bytes(run.device)
    table = Table(
        title=f"One step of {NUM_CLIPS} generated clips, and the memory of {num_clips} clips",
        caption=(
            "Memory: weights, gradients, the optimizer's, and what a forward keeps of each clip; "
            f"{run.device} has {memory / GIB:.1f} GiB. Frozen: their share of the step's "
            "operations."
        ),
    )
    for column in ("folder", "step, s", "GFLOP per clip", "frozen", "memory, GiB"):
        table.add_column(column, justify="left" if column == "folder" else "right")
    num_classes = {name: splits.num_classes for name, splits in run.datasets.items()}
    too_large = {}
    for training in run.plan.trainings:
        if not training.num_steps:  # a ready-made expert, which is not trained
            continue
        run.stop.raise_if_set()
        try:
            cost = measure_step(
                training,
                num_classes=num_classes,
                device=run.device,
                optimizer=run.cfg.SOLVER.OPTIMIZER,
            )
        except RuntimeError as error:
            raise RunError(f"{training.folder}: its first step fails: {error}") from error
        needed = cost.memory_bytes(num_clips)
        if needed > memory:
            too_large[training.folder] = cost.largest_batch(memory)
        table.add_row(
            training.folder,
            f"{cost.seconds:.2f}",
            f"{cost.flops / cost.num_clips / 1e9:.1f}",
            f"{cost.frozen_share:.0%}",
            f"{needed / GIB:.2f}",
        )
    run.console.print(table)
    if too_large:
        raise RunError(
            f"{', '.join(too_large)} would not fit into the {memory / GIB:.1f} GiB of {run.device}"
            f": {advise(min(too_large.values()))}"
        )
