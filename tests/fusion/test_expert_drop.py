import pytest
import torch

from videokd.fusion.joint_teacher import draw_expert_weights

CPU = torch.device("cpu")


@pytest.mark.parametrize("num_experts", [1, 2, 3, 5])
@pytest.mark.parametrize("probability", [0.0, 0.3, 0.99])
def test_some_expert_stays_for_every_clip_and_the_weights_sum_to_their_number(
    num_experts, probability
):
    weights = draw_expert_weights(1000, num_experts, probability=probability, device=CPU)
    num_kept = (weights > 0).sum(dim=1)
    assert num_kept.min() >= 1
    torch.testing.assert_close(weights.sum(dim=1), torch.full((1000,), float(num_experts)))
    expected = (num_experts / num_kept)[:, None].expand_as(weights)
    torch.testing.assert_close(weights[weights > 0], expected[weights > 0])


def test_nothing_is_dropped_with_probability_0():
    assert torch.equal(draw_expert_weights(9, 3, probability=0.0, device=CPU), torch.ones(9, 3))


def test_experts_are_dropped_on_their_own_and_alike():
    kept = draw_expert_weights(40_000, 3, probability=0.5, device=CPU) > 0
    # Each of the 8 outcomes has 1/8; that of none is shared by the three of one.
    counts = torch.bincount((kept * torch.tensor([1, 2, 4])).sum(dim=1), minlength=8) / 40_000
    one, more = 1 / 8 + 1 / 24, 1 / 8
    expected = torch.tensor([0, one, one, more, one, more, more, more])
    torch.testing.assert_close(counts, expected, rtol=0, atol=0.01)
