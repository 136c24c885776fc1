"""What the tests of all losses compare with."""

from collections.abc import Callable

import pytest
import torch


@pytest.fixture
def assert_same_with_gradient() -> Callable[..., None]:
    """``assert_same_with_gradient(loss, reference, student, atol=1e-6)``.

    ``reference`` is the slow float64 loss of a student; value and gradient are compared.
    """

    def check(loss, reference, student, atol=1e-6):
        double = student.detach().double().requires_grad_()
        expected = reference(double)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        gradient = torch.autograd.grad(loss, student)[0]
        expected_gradient = torch.autograd.grad(expected, double)[0]
        torch.testing.assert_close(gradient, expected_gradient.float(), rtol=1e-4, atol=atol)

    return check
