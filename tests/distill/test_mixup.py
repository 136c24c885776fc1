import math
from dataclasses import replace

import pytest
import torch

from videokd.distill.feature_cache import FeatureCache
from videokd.distill.mixup import MixParams, apply_mix, draw_mix
from videokd.distill.tasks import ClassificationTask, MixOptions, mixed_cross_entropy
from videokd.utils.errors import InputError

IDS = torch.tensor([0, 1, 0, 2, 1, 0, 1, 1])
ITSELF = 3  # the only clip of its dataset
EITHER = pytest.mark.parametrize("kind", ["mixup", "cutmix"])


def draw(kind="mixup", ids=IDS, height=12, width=20, seed=0, alpha=1.0):
    torch.manual_seed(seed)
    alphas = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, f"{kind}_alpha": alpha}
    return draw_mix(ids, height, width, **alphas)


@EITHER
def test_partners_are_other_clips_of_the_same_dataset_and_each_is_one_once(kind):
    for seed in range(50):
        params = draw(kind, seed=seed)
        assert torch.equal(IDS[params.partner], IDS)
        assert (params.partner == torch.arange(8)).nonzero().flatten().tolist() == [ITSELF]
        assert sorted(params.partner.tolist()) == list(range(8))
        assert params.weight[ITSELF] == 1


def test_all_clips_of_the_dataset_are_met_equally_often():
    counts = torch.zeros(4, 4)
    for seed in range(600):
        counts[torch.arange(4), draw(ids=torch.zeros(4, dtype=torch.int64), seed=seed).partner] += 1
    assert counts.diagonal().sum() == 0
    others = counts[~torch.eye(4, dtype=torch.bool)]
    assert 150 < others.min() <= others.max() < 250


@pytest.mark.parametrize("ids", [torch.tensor([4]), torch.tensor([5, 0, 3])])
@EITHER
def test_clips_alone_in_their_dataset_come_out_bit_for_bit(kind, ids):
    params = draw(kind, ids=ids)
    clips = torch.randn(len(ids), 3, 2, 12, 20)
    assert params.weight.tolist() == [1.0] * len(ids)
    assert torch.equal(apply_mix(clips, params), clips)


def test_mixup_by_hand():
    params = MixParams(torch.tensor([1, 2, 0]), torch.tensor([0.75, 0.5, 1.0]), None)
    clips = torch.tensor([4.0, 8.0, 16.0]).view(3, 1, 1, 1, 1).expand(3, 3, 2, 4, 5)
    mixed = apply_mix(clips, params)
    assert mixed.shape == clips.shape
    assert mixed[:, 0, 0, 0, 0].tolist() == [5.0, 12.0, 16.0]
    assert torch.equal(mixed, mixed[:, :1, :1, :1, :1].expand_as(mixed))


def test_cutmix_by_hand_is_one_box_over_all_frames():
    boxes = torch.tensor([[1, 2, 2, 1], [0, 0, 3, 4], [1, 1, 0, 2]])
    params = MixParams(torch.tensor([1, 2, 0]), torch.tensor([5 / 6, 0.0, 1.0]), boxes)
    clips = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1, 1).repeat(1, 3, 2, 3, 4)
    mixed = apply_mix(clips, params)
    assert mixed[0, 0, 0].tolist() == [[1, 1, 1, 1], [1, 1, 2, 1], [1, 1, 2, 1]]
    assert (mixed[1] == 3).all()
    assert (mixed[2] == 3).all()
    assert torch.equal(mixed, mixed[:, :1, :1].expand_as(mixed))
    assert clips[0].unique().tolist() == [1]


def test_the_weight_of_cutmix_is_the_share_of_what_is_left_of_the_clip():
    clips = torch.arange(8.0).view(8, 1, 1, 1, 1).repeat(1, 3, 2, 12, 20)
    for seed in range(20):
        params = draw("cutmix", seed=seed)
        own = apply_mix(clips, params) == clips
        own[ITSELF] = True
        torch.testing.assert_close(own.float().mean(dim=(1, 2, 3, 4)), params.weight)


def test_boxes_lie_inside_and_reach_the_borders():
    boxes = torch.cat([draw("cutmix", seed=seed).boxes for seed in range(100)])
    top, left, height, width = boxes.unbind(dim=1)
    assert boxes.min() == 0
    assert (top + height).max() == 12
    assert (left + width).max() == 20
    # Away from the border a box has the clip's shape, up to the even number of pixels.
    inside = (top > 0) & (left > 0) & (top + height < 12) & (left + width < 20)
    assert inside.sum() > 50
    assert (height / 12 - width / 20)[inside].abs().max() < 2 / 12


def test_a_box_that_meets_no_border_has_one_minus_lambda_of_the_area():
    # With so large an alpha lambda is 1/2: sides of sqrt(1/2) of 100 and 200, even.
    boxes = draw("cutmix", torch.zeros(100, dtype=torch.int64), 100, 200, alpha=1e6).boxes
    assert boxes[:, 2:].amax(dim=0).tolist() == [70, 140]


@pytest.mark.parametrize(("alpha", "variance"), [(0.2, 1 / 5.6), (1.0, 1 / 12), (5.0, 1 / 44)])
def test_shares_of_mixup_have_the_moments_of_beta(alpha, variance):
    weight = draw(ids=torch.zeros(4000, dtype=torch.int64), alpha=alpha).weight
    assert weight.mean().item() == pytest.approx(0.5, abs=0.02)
    # Beta(a, a) has the variance 1 / (4 (2 a + 1)).
    assert weight.var().item() == pytest.approx(variance, rel=0.08)


def test_with_both_on_a_batch_gets_either_equally_often():
    def draw_both(seed):
        torch.manual_seed(seed)
        return draw_mix(IDS, 12, 20, mixup_alpha=0.4, cutmix_alpha=1.0)

    num_cutmix = sum(draw_both(seed).boxes is not None for seed in range(400))
    assert 160 < num_cutmix < 240


def test_with_both_off_nothing_is_mixed_and_nothing_drawn():
    before = torch.get_rng_state()
    params = draw_mix(IDS, 12, 20, mixup_alpha=0.0, cutmix_alpha=0.0)
    assert torch.equal(torch.get_rng_state(), before)
    assert params.partner.tolist() == list(range(8))
    assert params.weight.tolist() == [1.0] * 8
    clips = torch.randn(8, 3, 2, 12, 20)
    assert torch.equal(apply_mix(clips, params), clips)


@EITHER
def test_a_mix_is_a_function_of_the_seed(kind):
    first, again, other = draw(kind, seed=7), draw(kind, seed=7), draw(kind, seed=8)
    assert torch.equal(first.partner, again.partner)
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


@EITHER
def test_types_are_those_that_are_promised(kind):
    params = draw(kind)
    assert (params.partner.dtype, params.weight.dtype) == (torch.int64, torch.float32)
    clips = torch.rand(8, 3, 2, 12, 20)
    mixed = apply_mix(clips.bfloat16(), params)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), apply_mix(clips, params), rtol=0.02, atol=0.02)


@EITHER
def test_no_value_on_the_device_is_read(kind):
    # Reading one from a meta tensor, which has none, is an error.
    params = draw(kind, ids=IDS.to("meta"))
    mixed = apply_mix(torch.rand(8, 3, 2, 12, 20, device="meta"), params)
    assert mixed.device.type == params.partner.device.type == params.weight.device.type == "meta"


@EITHER
def test_shares_of_the_own_clip_and_of_the_partner_add_up(kind):
    params = draw(kind)
    clips = torch.rand(8, 3, 2, 12, 20)
    turned = replace(params, partner=torch.arange(8))
    assert torch.equal(apply_mix(clips, turned), clips)
    ones = torch.ones(8, 3, 2, 12, 20)
    torch.testing.assert_close(apply_mix(ones, params), ones)


@pytest.mark.parametrize("alphas", [(-0.1, 0.0), (0.0, -1.0), (float("nan"), 0.0)])
def test_a_negative_alpha_is_an_input_error(alphas):
    with pytest.raises(InputError, match="mixup_alpha and cutmix_alpha must be >= 0, got"):
        draw_mix(IDS, 12, 20, mixup_alpha=alphas[0], cutmix_alpha=alphas[1])


def test_bytes_are_refused():
    clips = torch.zeros(8, 3, 2, 12, 20, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"clips must be floats to be mixed, got torch.uint8"):
        apply_mix(clips, draw())


def test_a_mix_at_another_size_by_hand():
    boxes = torch.tensor([[0, 0, 12, 20], [3, 4, 6, 10], [1, 1, 1, 1], [5, 7, 0, 3]])
    params = MixParams(torch.tensor([1, 2, 3, 0]), torch.rand(4), boxes, (12, 20))
    # Twice the height, half of the width; edges at 0.5, 3.5 go up.
    expected = [[0, 0, 24, 10], [6, 2, 12, 5], [2, 1, 2, 0], [10, 4, 0, 1]]
    scaled = params.scaled(24, 10)
    assert scaled.boxes.tolist() == expected
    assert scaled.clip_size == (24, 10)
    assert scaled.partner is params.partner
    assert scaled.weight is params.weight


def test_boxes_at_another_size_stay_inside_and_are_the_same_part_of_the_clip():
    for seed in range(30):
        params = draw("cutmix", seed=seed, height=112, width=96)
        for size in ((224, 192), (56, 48), (160, 171)):
            boxes = params.scaled(*size).boxes
            ratio = torch.tensor(size) / torch.tensor([112, 96])
            starts, ends = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
            assert boxes.min() >= 0
            assert (ends <= torch.tensor(size)).all()
            old_starts, old_ends = params.boxes[:, :2], params.boxes[:, :2] + params.boxes[:, 2:]
            assert (starts - old_starts * ratio).abs().max() <= 0.5
            assert (ends - old_ends * ratio).abs().max() <= 0.5


def test_clips_of_two_sizes_are_mixed_alike():
    params = draw("cutmix", seed=3, height=24, width=40)
    small = torch.rand(8, 3, 2, 12, 20)
    large = small.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
    # Boxes have even numbers of pixels, or reach a border: put them on even places.
    params = replace(params, boxes=params.boxes // 2 * 2)
    mixed = apply_mix(large, params)
    assert torch.equal(apply_mix(small, params.scaled(12, 20)), mixed[..., ::2, ::2])


@EITHER
def test_a_mix_at_its_own_size_is_itself(kind):
    params = draw(kind)
    assert params.scaled(12, 20) is params


def test_mixup_has_no_size():
    params = draw("mixup")
    assert params.clip_size is None
    assert params.scaled(99, 7) is params


def test_scaling_reads_no_value_on_the_device():
    params = draw("cutmix", ids=IDS.to("meta"))
    assert params.scaled(24, 40).boxes.device.type == "meta"


def test_boxes_for_another_size_are_refused():
    params = draw("cutmix")
    with pytest.raises(ValueError, match=r"boxes for clips of \(12, 20\) do not fit .*24, 40"):
        apply_mix(torch.rand(8, 3, 2, 24, 40), params)
    with pytest.raises(ValueError, match="boxes without a clip_size cannot be scaled"):
        replace(params, clip_size=None).scaled(24, 40)


def test_the_cross_entropy_of_mixed_labels_is_that_worked_out_by_hand():
    # log softmax of log p is log p: the losses of a clip are -log of 1/2, 1/4 and 1/4.
    logits = torch.tensor([[0.5, 0.25, 0.25]] * 3).log()
    labels, partner = torch.tensor([0, 1, 2]), torch.tensor([1, 0, 2])
    mix = MixParams(partner, torch.tensor([0.75, 1.0, 1.0]), None)
    ln2 = math.log(2)
    by_hand = torch.tensor([(0.75 * 1 + 0.25 * 2) * ln2, 2 * ln2, 2 * ln2])
    torch.testing.assert_close(mixed_cross_entropy(logits, labels, mix), by_hand)
    whole = torch.tensor([ln2, 2 * ln2, 2 * ln2])
    torch.testing.assert_close(mixed_cross_entropy(logits, labels, None), whole)


@pytest.mark.parametrize("options", [{"is_fixed": True}, {"cache": FeatureCache(1)}])
def test_mixing_is_refused_where_the_teacher_would_not_see_the_mix(make_student_task, options):
    match = "fixed teaching shows" if "is_fixed" in options else "a cache keeps"
    with pytest.raises(InputError, match=match):
        make_student_task(mixing=MixOptions(0.2), **options)
    with pytest.raises(InputError, match="a cache keeps the targets of whole clips"):
        ClassificationTask(None, {}, mixing=MixOptions(0, 1.0), expert_cache=FeatureCache(1))
