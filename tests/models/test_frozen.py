import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videokd.models.frozen import Frozen


class _Student(nn.Module):
    def __init__(self, teacher):
        super().__init__()
        self.teacher = Frozen(teacher)
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(self.teacher(x))


@pytest.fixture
def teacher():
    return nn.Sequential(nn.Conv1d(3, 3, 1), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Flatten())


@pytest.fixture
def student(teacher):
    return _Student(teacher)


def test_training_on_top_changes_nothing_of_the_teacher(student, teacher):
    before = copy.deepcopy(teacher.state_dict())
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0)
    for _ in range(3):
        student.train()
        optimizer.zero_grad()
        F.cross_entropy(student(torch.randn(4, 3, 1)), torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def test_the_teacher_stays_in_eval_mode_whatever_the_parent_is_told(student, teacher):
    student.train()
    student.requires_grad_(True)
    student.apply(lambda module: module.train())
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())


def test_the_teacher_is_in_no_state_and_no_parameters_of_the_parent(student):
    assert list(student.state_dict()) == ["layer.weight", "layer.bias"]
    assert [name for name, _ in student.named_parameters()] == ["layer.weight", "layer.bias"]
    assert list(student.buffers()) == []


def test_the_teacher_moves_with_the_parent(student, teacher):
    student.to(torch.float64)
    assert teacher[0].weight.dtype == torch.float64
    assert teacher[1].running_mean.dtype == torch.float64
    student.to("meta")
    assert teacher[0].weight.device.type == "meta"


def test_results_need_no_gradient_but_can_be_trained_on(student):
    x = torch.randn(4, 3, 1, requires_grad=True)
    assert not student.teacher(x).requires_grad
    student(x).sum().backward()
    assert student.layer.weight.grad is not None
    assert x.grad is None


def test_a_frozen_module_inside_a_frozen_one_moves_and_stays_frozen(student, teacher):
    outer = nn.Sequential(Frozen(student))
    outer.train().to(torch.float64)
    assert teacher[0].weight.dtype == torch.float64
    assert not teacher.training
    assert list(outer.parameters()) == []
