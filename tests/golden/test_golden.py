"""The loss curves of short trainings, digit by digit: what nobody meant to change has not changed.

Where a change is meant, write the files anew, and say in the commit why they moved:

    GOLDEN=write OMP_NUM_THREADS=1 python -m pytest -q tests/golden

The digits depend on the processor and on torch's version: each file is of one maker of processors,
and says which build wrote it. With that build the curves must be equal bit for bit. Elsewhere
rounding grows from step to step: the curves of AMD and Intel are up to 1.7e-5 apart after 20 steps,
so processors without a file of their own must come within 1e-4 of the loss of AMD's.
"""

import os
import platform
import re
from pathlib import Path

import pytest
import torch

from videokd.distill.objective import DistillObjective, DistillOptions
from videokd.distill.projectors import Projectors
from videokd.distill.tasks import ClassificationTask, StudentTask
from videokd.engine.metrics_log import read_metrics
from videokd.engine.optim import build_optimizer
from videokd.engine.stop import StopRequest
from videokd.engine.train import Learner, TrainSettings, train
from videokd.fusion.joint_teacher import JointTeacher
from videokd.models.levels import compute_level_shapes

FOLDER = Path(__file__).parent
NUM_STEPS = 20
LEVELS = ("stage2", "stage3")
CLIP = (3, 4, 32, 32)
# The first is the expert and the student, both are the joint teacher's.
NETWORKS = {"cnn": ("r3d_18", "mc3_18"), "transformer": ("mvit_v2_s", "mvit_v1_b")}
SETTINGS = TrainSettings(
    num_steps=NUM_STEPS,
    base_lr=1e-3,
    warmup_steps=4,
    clip_grad_norm=5.0,
    seed=1,
    log_period=1,
    eval_period=0,
    num_checkpoints=2,
    checkpoint_period_sec=1e9,
    max_bad_videos=0,
    dataset_names=("a", "b"),
)


class Silence:
    """A progress bar that shows nothing."""

    def update(self, step, text):
        pass


@pytest.fixture
def make_task(make_classifier):
    """``make_task("expert" | "joint" | "student", "cnn" | "transformer")``."""

    def make_joint(kind):
        experts = dict(zip("ab", map(make_classifier, NETWORKS[kind]), strict=True))
        shapes = {n: compute_level_shapes(model.backbone, CLIP) for n, model in experts.items()}
        return JointTeacher(
            experts,
            shapes,
            shapes=shapes["a"],
            levels=LEVELS,
            num_classes={"a": 3, "b": 4},
            width=6,
            dropout=0.5,
        )

    def make(stage, kind):
        if stage == "expert":
            return ClassificationTask(make_classifier(NETWORKS[kind][0]), {"a": 1.0})
        if stage == "joint":
            return ClassificationTask(make_joint(kind), {"a": 1.0, "b": 0.5})
        student = make_classifier(NETWORKS[kind][0])
        shapes = compute_level_shapes(student.backbone, CLIP)
        objective = DistillObjective(
            DistillOptions(),
            projectors=Projectors(shapes, shapes, levels=[*LEVELS, "embedding"], kind="always"),
            num_levels=len(LEVELS) + 1,
        )
        return StudentTask(student, make_joint(kind), dataset="a", objective=objective)

    return make


def _train(task, make_batch, folder, ids):
    def batches(step):
        while True:
            yield make_batch(ids, seed=step % 5)
            step += 1

    with StopRequest() as stop:
        train(
            Learner(task, build_optimizer(task, name="adamw", base_lr=1e-3, weight_decay=0.05)),
            batches,
            settings=SETTINGS,
            folder=folder,
            evaluate=dict,
            stop=stop,
            progress=Silence(),
        )
    return [line["loss"] for line in read_metrics(folder / "metrics.jsonl")]


def _find_maker():
    # MKL picks its kernels by the maker of the processor, too.
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    maker = re.search(r"vendor_id\s*: (\S+)", text)
    return maker.group(1) if maker else platform.processor()


def _describe_build():
    capability = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {platform.machine()} {_find_maker()} {capability}"


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("stage", ["expert", "joint", "student"])
def test_losses_are_those_of_before(make_task, make_batch, tmp_path, stage, kind):
    path, build = FOLDER / _find_maker() / f"{stage}_{kind}.txt", _describe_build()
    ids = (0, 1, 1, 0) if stage == "joint" else (0, 0, 0, 0)
    losses = _train(make_task(stage, kind), make_batch, tmp_path, ids)
    assert len(losses) == NUM_STEPS
    if os.environ.get("GOLDEN") == "write":
        lines = [f"{loss.hex()}  {loss:.6f}" for loss in losses]
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([f"# {build}", *lines, ""]))
    if not path.exists():
        path = FOLDER / "AuthenticAMD" / path.name
    first, *lines = path.read_text().splitlines()
    expected = [float.fromhex(line.split()[0]) for line in lines]
    if first == f"# {build}":
        assert losses == expected
    else:
        assert losses == pytest.approx(expected, rel=1e-4)
