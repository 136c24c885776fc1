import copy
from dataclasses import replace

import pytest
import torch

from videokd.data.batch import ViewKey
from videokd.distill.ensemble import EnsembleTask, ExpertEnsemble
from videokd.distill.feature_cache import FeatureCache, flatten_features, unflatten_features
from videokd.distill.tasks import ClassificationTask
from videokd.models.levels import Features


class _Source:
    """Says a random row of 5 floats (20 bytes) for each view, and how many it was asked for."""

    def __init__(self, num_views=8):
        self.rows = torch.randn(num_views, 5)
        self.asked = []

    def ask(self, cache, keys):
        def compute():
            self.asked += keys
            return {"logits": self.rows[[key[1] for key in keys]]}

        return cache(keys, compute)["logits"]


def _keys(record_ids, view=0):
    return [ViewKey(0, record_id, view) for record_id in record_ids]


def test_a_view_is_computed_once_and_comes_back_bit_for_bit():
    cache, source = FeatureCache(10**6), _Source()
    for order in ([0, 1, 2], [3, 4, 5], [5, 0, 3], [1, 2, 4]):
        said = source.ask(cache, _keys(order))
        assert torch.equal(said, source.rows[order])
    assert source.asked == _keys(range(6))
    assert (cache.num_asked, cache.num_computed) == (12, 6)


def test_the_whole_batch_is_computed_when_one_of_its_views_is_new():
    cache, source = FeatureCache(10**6), _Source()
    source.ask(cache, _keys([0, 1]))
    assert torch.equal(source.ask(cache, _keys([1, 2])), source.rows[[1, 2]])
    assert source.asked == _keys([0, 1, 1, 2])


def test_views_of_one_video_and_videos_of_two_datasets_are_kept_apart():
    cache = FeatureCache(10**6)
    keys = [ViewKey(0, 0, 0), ViewKey(0, 0, 1), ViewKey(1, 0, 0)]
    for i, key in enumerate(keys):
        cache([key], lambda i=i: {"x": torch.tensor([float(i)])})
    said = cache(keys, lambda: pytest.fail("all three are known"))
    assert said["x"].tolist() == [0.0, 1.0, 2.0]


def test_a_view_that_does_not_come_again_is_never_kept():
    cache, source = FeatureCache(10**6), _Source()
    for _ in range(3):
        source.ask(cache, _keys([0, 1], view=-1))
    assert len(source.asked) == cache.num_computed == 6


def test_no_more_is_kept_than_fits():
    # 3 of 4 rows of 20 bytes each.
    cache, source = FeatureCache(79), _Source()
    source.ask(cache, _keys([0, 1, 2, 3]))
    source.ask(cache, _keys([0, 1, 2]))
    assert len(source.asked) == 4
    for _ in range(2):
        assert torch.equal(source.ask(cache, _keys([3])), source.rows[[3]])
    assert source.asked[4:] == _keys([3, 3])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_asked_for_again(value):
    # 4 rows of 20 bytes each, and what is dropped makes room.
    cache, source = FeatureCache(80), _Source()
    whole = source.rows.clone()
    source.rows[1, 3] = value
    source.ask(cache, _keys([0, 1]))
    source.ask(cache, _keys([2, 3]))
    source.rows = whole
    assert torch.equal(source.ask(cache, _keys([2, 3])), whole[[2, 3]])
    assert torch.equal(source.ask(cache, _keys([1, 0])), whole[[1, 0]])
    assert source.asked == _keys([0, 1, 2, 3, 1, 0])
    for order in ([0, 1, 2, 3], [3, 1]):
        assert torch.equal(source.ask(cache, _keys(order)), whole[order])
    assert len(source.asked) == 6


def test_one_name_that_is_not_finite_spoils_the_view():
    cache, bad = FeatureCache(10**6), torch.tensor([[1.0], [torch.inf]])
    cache(_keys([0, 1]), lambda: {"a": torch.ones(2, 3, 4), "b": bad, "c": torch.ones(2).int()})
    said = cache(_keys([1]), lambda: {"b": torch.zeros(1)})
    assert said["b"].tolist() == [0.0]
    cache(_keys([0]), lambda: pytest.fail("the other is as it should be"))


def test_no_value_on_the_device_is_read_while_views_are_new():
    # Reading one from a meta tensor, which has none, is an error.
    cache = FeatureCache(10**6)
    for first in range(0, 8, 2):
        value = torch.ones(2, 3, device="meta")
        cache(_keys([first, first + 1]), lambda value=value: {"x": value})
    assert cache.num_computed == 8


def test_what_is_kept_is_a_copy_without_gradient():
    cache = FeatureCache(10**6)
    value = torch.ones(2, 3, requires_grad=True)
    cache(_keys([0, 1]), lambda: {"x": value * 2})
    kept = cache(_keys([0]), lambda: pytest.fail("it is known"))["x"]
    kept.zero_()
    again = cache(_keys([0]), lambda: pytest.fail("it is known"))["x"]
    assert not again.requires_grad
    assert again.tolist() == [[2.0, 2.0, 2.0]]


def _joint_task(make_teacher, cache):
    return ClassificationTask(make_teacher(), {"a": 1.0, "b": 0.5}, expert_cache=cache)


def _ensemble_task(make_classifier, cache):
    experts = {"a": make_classifier("mc3_18"), "b": make_classifier("r3d_18")}
    dims = {name: expert.backbone.embedding_dim for name, expert in experts.items()}
    return EnsembleTask(ExpertEnsemble(experts, dims, dataset="a", num_classes=3), cache=cache)


@pytest.fixture(params=["joint", "student", "fixed student", "ensemble"])
def make_cached_task(request, make_teacher, make_student_task, make_classifier):
    """``make_cached_task(cache)`` -> the task, and where to count what its frozen networks see."""

    def make(cache):
        if request.param == "joint":
            task = _joint_task(make_teacher, cache)
            return task, task.model.experts["b"].module
        if request.param == "ensemble":
            task = _ensemble_task(make_classifier, cache)
            return task, task.model.experts["b"].module
        task = make_student_task(cache=cache, is_fixed=request.param == "fixed student")
        return task, task.teacher.module

    return make


def _train(task, batches):
    losses, optimizer = [], torch.optim.SGD(task.parameters(), lr=0.05)
    for batch in batches:
        torch.manual_seed(3)
        task.train()
        optimizer.zero_grad()
        loss = task(batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_tasks_learn_the_same_with_a_cache_and_ask_once_per_view(make_cached_task, make_views):
    batches = make_views([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]])
    batches += make_views([[4, 9, 6], [1, 0, 11], [2, 8, 3], [10, 7, 5]])  # all come again
    batches += make_views([[8, 1, 5]])
    task, frozen = make_cached_task(FeatureCache(10**8))
    plain = copy.deepcopy(task)
    plain.cache = plain.expert_cache = None
    seen = []
    frozen.register_forward_pre_hook(lambda module, args: seen.append(len(args[0]["clip"])))
    assert _train(task, batches) == pytest.approx(_train(plain, batches), rel=1e-4)
    assert seen == [3, 3, 3, 3]


@pytest.fixture
def make_views(make_batch):
    """``make_views(rows)``: batches of fixed views, each with its own clip, by number."""
    whole = make_batch((0,) * 12)
    plain = make_batch((0,) * 12, seed=1).main

    def make(rows):
        return [
            replace(
                whole,
                clips={"clip": whole.main[row]},
                labels=whole.labels[row],
                dataset_ids=whole.dataset_ids[row],
                plain_clips={"clip": plain[row]},
                # Two views of each of six videos.
                view_keys=tuple(ViewKey(0, number // 2, number % 2) for number in row),
            )
            for row in rows
        ]

    return make


def test_features_of_several_experts_come_back_from_their_flat_form():
    seen = {
        "a": Features({"stage1": torch.ones(1), "stage2": torch.ones(2)}, torch.ones(3)),
        "b": Features({}, torch.ones(4)),
    }
    flat = flatten_features(seen)
    assert list(flat) == ["a/stage1", "a/stage2", "a/embedding", "b/embedding"]
    back = unflatten_features(flat)
    assert list(back) == list(seen)
    for name, features in seen.items():
        assert back[name].levels == features.levels
        assert back[name].embedding is features.embedding
