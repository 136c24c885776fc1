"""Cost of a teacher: a student's step alone, with one expert, and with the joint teacher."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from benchmarks.figures import Figure, paired_ratios, time_interleaved
from benchmarks.workloads import (
    CPU_CASES,
    CUDA_CASES,
    NUM_CLASSES,
    ModelCase,
    make_train_step,
)
from videokd.distill.objective import DistillObjective, DistillOptions
from videokd.distill.projectors import Projectors
from videokd.distill.tasks import ClassificationTask, StudentTask
from videokd.fusion.joint_teacher import JointTeacher

# Teacher and student use the same clips, so all networks run at the student's clip size.
_LEVELS = ("stage2", "stage3")
_TEACHERS = ("alone", "expert_logits", "joint_teacher")
_MIB = 2**20


def benchmark_distill(
    device: torch.device, *, num_rounds: int, cases: Sequence[ModelCase] = ()
) -> list[Figure]:
    """Time a student's training step without a teacher, with one expert's logits, and with T*.

    On a GPU everything runs in bf16 and channels_last_3d. The peak memory of a step is measured
    there too: weights, optimizer and activations of one task.

    Args:
        device: Device of the measurement.
        num_rounds: Measurements of each.
        cases: The experts; the first is also the student. Default: the demo's on a CPU, full-sized
            ones on a GPU.
    """
    experts = cases or (CPU_CASES if device.type == "cpu" else CUDA_CASES)
    works: dict[str, Callable[[], None]] = {}
    figures = []
    batch = experts[0].random_batch(device)
    for teacher in _TEACHERS:
        # Memory is counted from here, without the memory of the earlier tasks.
        before = _start_counting(device)
        works[teacher] = make_train_step(_make_task(teacher, experts, device).to(device), batch)
        if device.type == "cuda":
            works[teacher]()
            works[teacher]()
            peak = (torch.cuda.max_memory_allocated(device) - before) / _MIB
            figures.append(Figure.of_count(f"distill/{teacher}/peak_memory", peak, "MiB"))
    times = time_interleaved(works, device=device, num_rounds=num_rounds)
    for teacher, samples in times.items():
        ratios = paired_ratios(samples, times["alone"])
        figures.append(Figure.of_samples(f"distill/{teacher}/ms", samples, "ms"))
        figures.append(Figure.of_samples(f"distill/{teacher}/ratio", ratios, "of alone"))
    return figures


def _start_counting(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _make_task(teacher: str, experts: Sequence[ModelCase], device: torch.device) -> nn.Module:
    student_case = experts[0]
    options = ("float32", "contiguous") if device.type == "cpu" else ("bf16", "channels_last_3d")
    student = student_case.build(*options)
    if teacher == "alone":
        return ClassificationTask(student, {"a": 1.0})
    if teacher == "expert_logits":
        expert = student_case.build(*options)
        objective = DistillObjective(DistillOptions())
        return StudentTask(student, expert, dataset="a", objective=objective)
    cases = {
        f"expert{i}": replace(
            case,
            num_frames=student_case.num_frames,
            crop_size=student_case.crop_size,
            batch_size=student_case.batch_size,
        )
        for i, case in enumerate(experts)
    }
    models = {name: case.build(*options) for name, case in cases.items()}
    shapes = student_case.shapes(student)
    joint = JointTeacher(
        models,
        {name: case.shapes(models[name]) for name, case in cases.items()},
        shapes=shapes,
        levels=_LEVELS,
        num_classes={"a": NUM_CLASSES},
        width=64,
        dropout=0.0,
    )
    levels = [*_LEVELS, "embedding"]
    objective = DistillObjective(
        DistillOptions(),
        projectors=Projectors(shapes, shapes, levels=levels),
        num_levels=len(levels),
    )
    return StudentTask(student, joint, dataset="a", objective=objective)
