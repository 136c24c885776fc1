from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from videokd.data.batch import BadVideo
from videokd.data.test_views import ViewBatch
from videokd.evaluation import multi_view
from videokd.evaluation.multi_view import predict_views


class FakeModel(nn.Module):
    """Its embedding is the clip's mean; dataset "b" scores it the other way round."""

    def forward(self, clips):
        assert not self.training
        assert torch.is_inference_mode_enabled()
        return SimpleNamespace(embedding=clips["2x1x4"].mean(dim=(1, 2, 3, 4))[:, None])

    def classify(self, embedding, dataset):
        sign = {"a": 1.0, "b": -1.0}[dataset]
        return torch.cat([0 * embedding, sign * (embedding - 0.5), -9 + 0 * embedding], dim=1)


def _batch(values, labels, first_id, bad=()):
    """Videos of one view per number in 0 .. 255."""
    clips = [torch.full((3, 2, 4, 4), value) for views in values for value in views]
    return ViewBatch(
        {"2x1x4": torch.stack(clips).to(torch.uint8)} if clips else {},
        torch.tensor([len(views) for views in values], dtype=torch.int64),
        torch.tensor(labels, dtype=torch.int64),
        torch.arange(first_id, first_id + len(values)),
        tuple(bad),
    )


@pytest.fixture
def batches():
    bad = BadVideo(0, 2, "x.avi", "cut off")
    return [
        _batch([[0, 51], [255, 204]], [0, 1], 0, [bad]),
        _batch([], [], 2, [bad]),
        _batch([[204, 0]], [1], 3),
    ]


def _predict(batches, dataset="a", done=None):
    return predict_views(
        FakeModel().train(),
        dataset,
        batches,
        device=torch.device("cpu"),
        after_batch=(done if done is not None else []).append,
    )


def test_logits_are_kept_video_by_video_and_view_by_view(batches):
    predictions = _predict(batches)
    assert predictions.logits.shape == (3, 2, 3)
    assert predictions.logits.dtype == np.float32
    expected = [[-0.5, -0.3], [0.5, 0.3], [0.3, -0.5]]
    np.testing.assert_allclose(predictions.logits[:, :, 1], expected, atol=1e-6)
    assert predictions.record_ids.tolist() == [0, 1, 3]
    assert predictions.labels.tolist() == [0, 1, 1]


def test_bad_videos_are_set_aside_and_counted_as_done(batches):
    done = []
    predictions = _predict(batches, done=done)
    assert done == [3, 4, 5]
    assert [video.path for video in predictions.bad] == ["x.avi", "x.avi"]


def test_scores_are_percent_of_the_fused_views(batches):
    # The third video's views disagree, and the wrong one is the surer.
    scores = _predict(batches).scores()
    assert scores["top1"] == pytest.approx(100 * 2 / 3)
    assert scores["top5"] == 100
    assert scores["mean_class_accuracy"] == pytest.approx((100 + 50) / 2)


class FakeTeacher(FakeModel):
    """Takes the clips of two shapes: scores by the mean of both."""

    def forward(self, clips):
        means = [x.mean(dim=(1, 2, 3, 4)) for x in (clips["2x1x4"], clips["1x1x2"])]
        return SimpleNamespace(embedding=sum(means)[:, None] / 2)


def test_a_model_of_several_shapes_gets_the_views_of_all_of_them():
    batch = _batch([[0, 51], [255, 204]], [0, 1], 0)
    small = torch.full((4, 3, 1, 2, 2), 51, dtype=torch.uint8)
    batch = replace(batch, clips={**batch.clips, "1x1x2": small})
    predictions = predict_views(
        FakeTeacher(), "a", [batch], device=torch.device("cpu"), after_batch=lambda _: None
    )
    expected = [[-0.4, -0.3], [0.1, 0.0]]  # half of value and 0.2, less 0.5
    np.testing.assert_allclose(predictions.logits[:, :, 1], expected, atol=1e-6)


def test_the_head_of_the_dataset_is_asked(batches):
    assert _predict(batches, "b").scores()["top1"] == pytest.approx(100 / 3)


def test_without_a_readable_video_nothing_is_predicted(batches):
    predictions = _predict(batches[1:2])
    assert len(predictions.logits) == len(predictions.labels) == len(predictions.record_ids) == 0
    assert len(predictions.bad) == 1


class CountingModel(nn.Module):
    """A small convolution that notes how many views it is given at a time."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(3, 8, 3)
        self.head = nn.Linear(8, 4)
        self.sizes = []

    def forward(self, clips):
        (own,) = clips.values()
        self.sizes.append(len(own))
        return SimpleNamespace(embedding=self.conv(own).mean(dim=(2, 3, 4)))

    def classify(self, embedding, dataset):
        return self.head(embedding)


@pytest.mark.parametrize(
    ("max_views", "sizes"), [(60, [60]), (59, [30, 30]), (13, [12] * 5), (1, [1] * 60)]
)
def test_views_go_through_the_network_in_parts_of_bounded_size(monkeypatch, max_views, sizes):
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (60, 3, 4, 16, 16), dtype=torch.uint8, generator=generator)
    batch = replace(_batch([[0] * 30, [0] * 30], [0, 1], 0), clips={"4x1x16": clips})
    options = {"device": torch.device("cpu"), "after_batch": lambda _: None}
    whole, parts = CountingModel(), CountingModel()
    expected = predict_views(whole, "a", [batch], **options)
    assert whole.sizes == [60]
    # A view has 3 * 4 * 16 * 16 bytes; one byte less is a view less.
    monkeypatch.setattr(multi_view, "_MAX_FORWARD_BYTES", 3072 * (max_views + 1) - 1)
    found = predict_views(parts, "a", [batch], **options)
    assert parts.sizes == sizes
    assert found.logits.shape == expected.logits.shape == (2, 30, 4)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=1e-6)


def test_a_view_larger_than_the_bound_goes_alone(monkeypatch):
    monkeypatch.setattr(multi_view, "_MAX_FORWARD_BYTES", 1)
    assert multi_view._split(3, 100) == [slice(0, 1), slice(1, 2), slice(2, 3)]
