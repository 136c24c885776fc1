"""One experiment from start to end, or one of its stages."""

import importlib.util
import logging
from pathlib import Path

from videokd import __version__
from videokd.export.onnx import require_onnx
from videokd.export.sidecar import SIDECAR_NAME, Preprocessing
from videokd.export.student import export_student
from videokd.models.classifier import VideoClassifier
from videokd.pipeline import STAGES, TRAINING_STAGES
from videokd.pipeline.run import Run
from videokd.pipeline.scoring import score_training
from videokd.pipeline.summary import accuracy_table, time_table, write_summary
from videokd.pipeline.train import run_training
from videokd.pipeline.training import Training
from videokd.report.page import write_report
from videokd.utils.errors import InputError
from videokd.utils.io import read_json, sha256_file, sha256_json, write_json
from videokd.utils.log import log_duration, show

logger = logging.getLogger(__name__)

_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def run_experiment(run: Run, stage: str = "all") -> None:
    """Run one stage of the experiment, or all stages in order.

    Args:
        run: From ``prepare_run``.
        stage: "all" or one of ``STAGES``. A training stage needs the earlier stages to be finished.

    Raises:
        InputError: An earlier stage is not finished, or, for the stage "export", a package that
            ONNX needs is missing; "all" then exports without ONNX.
        RunError: A training or an export failed.
        Stopped: A signal arrived; the same call resumes.
    """
    if stage in ("all", "export") and "onnx" in run.cfg.EXPORT.FORMATS:
        try:
            require_onnx(*_ONNX_PACKAGES)
        except InputError as error:
            if stage == "export":
                raise
            # Said before hours of training. The extra is optional, and may be installed later.
            logger.warning("students are exported without ONNX: %s, then --stage export", error)
    for name in STAGES if stage == "all" else (stage,):
        if name in TRAINING_STAGES or name == "test":
            run.raise_if_stopped()
        elif not run.ranks.is_first:
            return  # only the first rank exports and writes the report
        else:
            run.stop.raise_if_set()
        with log_duration(f"stage {name}", logger=logger):
            _run_stage(run, name)


def _run_stage(run: Run, name: str) -> None:
    if name in TRAINING_STAGES:
        for training in run.plan.trainings:
            if training.stage == name:
                run_training(run, training)
                run.raise_if_stopped()
    elif name == "test":
        for training in run.plan.trainings:
            score_training(run, training)
            run.raise_if_stopped()
        if run.ranks.is_first:
            show_results(run)
    elif name == "export":
        for training in run.plan.trainings:
            if training.key == "students":
                folder = run.folder / "export" / training.tested_on[0]
                export_training(run, training, folder, _installed_formats(run))
    else:
        write_summary(run)
        show(run.console, f"report: {write_report(run.folder)}", logger=logger)


def _installed_formats(run: Run) -> tuple[str, ...]:
    formats = tuple(run.cfg.EXPORT.FORMATS)
    has_onnx = all(importlib.util.find_spec(name) for name in _ONNX_PACKAGES)
    return formats if has_onnx else tuple(name for name in formats if name != "onnx")


def splits_of_stage(stage: str) -> tuple[str, ...]:
    """Return the splits whose frames a stage reads: "train", "test", both or neither."""
    if stage == "all":
        return ("train", "test")
    if stage in TRAINING_STAGES:
        return ("train",)
    return ("test",) if stage == "test" else ()


def show_results(run: Run) -> None:
    """Write results.json and print its tables."""
    summary = write_summary(run)
    show(run.console, time_table(summary), logger=logger)
    show(run.console, accuracy_table(summary), logger=logger)
    show(
        run.console,
        f"seed {summary['seed']}, "
        f"top-1 of {run.cfg.TEST.NUM_ENSEMBLE_VIEWS} x {run.cfg.TEST.NUM_SPATIAL_CROPS} views "
        f"({run.cfg.TEST.CLIP_RULE}), "
        f"run directory {run.folder}",
        logger=logger,
    )


def export_training(
    run: Run, training: Training, folder: Path, formats: tuple[str, ...] | None = None
) -> None:
    """Export a trained student, or skip it if the same weights are already exported.

    Args:
        run: The run.
        training: Training of a student.
        folder: Output folder.
        formats: Some of "pth", "safetensors", "onnx"; None for EXPORT.FORMATS.
    """
    dataset = training.tested_on[0]
    wanted = list(formats or run.cfg.EXPORT.FORMATS)
    model = run.plan.load_model(training)
    assert isinstance(model, VideoClassifier)
    preprocessing = _preprocessing(run, dataset)
    weights = sha256_file(run.plan.path(training) / "model.safetensors")
    source = sha256_json([weights, wanted, preprocessing.to_json(), __version__])
    marker = folder / "source.json"
    is_whole = marker.exists() and (folder / SIDECAR_NAME).exists()
    if is_whole and read_json(marker) == {"fingerprint": source}:
        logger.info("%s: exported before, skipped", folder)
        return
    report = export_student(
        model,
        run.plan.builder.architecture("STUDENTS", dataset),
        folder=folder,
        dataset=dataset,
        class_names=run.datasets[dataset].train.class_names,
        preprocessing=preprocessing,
        formats=wanted,
    )
    write_json(marker, {"fingerprint": source})
    parity = ", ".join(f"{name} {value:.1e}" for name, value in report.parity.items())
    text = f"exported {dataset} to {folder}: max logit difference {parity}"
    show(run.console, text, logger=logger)


def _preprocessing(run: Run, dataset: str) -> Preprocessing:
    node, clip = run.cfg.STUDENTS[dataset], run.plan.builder.clip("STUDENTS", dataset)
    return Preprocessing(
        num_frames=clip.num_frames,
        sampling_rate=clip.sampling_rate,
        short_side=clip.short_side,
        crop_size=clip.crop_size,
        mean=tuple(node.MEAN),
        std=tuple(node.STD),
        channels=node.COLOR_ORDER,
        num_clips=run.cfg.TEST.NUM_ENSEMBLE_VIEWS,
        num_crops=run.cfg.TEST.NUM_SPATIAL_CROPS,
        clip_rule=run.cfg.TEST.CLIP_RULE,
        box_size=clip.box_size,
        sampler=clip.sampler,
        target_fps=clip.target_fps,
        short_video=clip.short_video,
        crop_shape=clip.crop_shape,
    )
