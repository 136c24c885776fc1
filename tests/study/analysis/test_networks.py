from dataclasses import replace

import numpy as np
import pytest
import torch

from videokd.data.test_views import ViewDataset
from videokd.distill.tasks import to_float
from videokd.pipeline.plan import ExperimentPlan
from videokd.study.analysis.networks import extract_features
from videokd.utils.errors import InputError


@pytest.fixture
def run(make_run):
    return make_run("BASELINES", "[]", datasets=("UCF", "KINETICS"))


@pytest.mark.parametrize("folder", ["experts/KINETICS", "joint"])
def test_maps_are_averaged_over_time_and_space_of_the_centre_view(run, folder):
    training = run.plan.find(folder)
    index = run.datasets["UCF"].index("train")
    features = extract_features(run, training, "UCF", "train")
    model = training.build_model().eval()
    videos = ViewDataset(index, dataset_id=0, clip=training.clips)
    for row in (0, len(index) - 1):
        with torch.no_grad():
            expected = model(to_float(videos[row].clips))
        for level, maps in expected.levels.items():
            means = [channel.numpy().mean() for channel in maps[0]]
            np.testing.assert_allclose(features.levels[level][row], means, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(
            features.levels["embedding"][row], expected.embedding[0], rtol=1e-3, atol=1e-5
        )
    assert set(features.levels) == {*expected.levels, "embedding"}
    assert features.labels.tolist() == [record.label for record in index.records]


def test_what_was_extracted_is_kept_for_the_unit_and_the_part(run, monkeypatch):
    training, other = run.plan.find("experts/UCF"), run.plan.find("experts/KINETICS")
    first = extract_features(run, training, "UCF", "test")
    loaded = []

    def load(self, training):
        loaded.append(training.folder)
        return training.build_model()

    monkeypatch.setattr(ExperimentPlan, "load_model", load)
    again = extract_features(run, training, "UCF", "test")
    assert loaded == []
    assert again.levels.keys() == first.levels.keys()
    assert all(np.array_equal(again.levels[k], first.levels[k]) for k in first.levels)
    assert np.array_equal(again.labels, first.labels)
    extract_features(run, training, "UCF", "val")
    extract_features(run, other, "UCF", "test")
    assert loaded == ["experts/UCF", "experts/KINETICS"]


def test_a_training_that_is_not_finished_names_the_stage_to_run(make_run):
    run = make_run("BASELINES", "[]", datasets=("UCF",), is_dry=False)
    with pytest.raises(InputError, match="joint is not trained yet; run --stage joint first"):
        extract_features(run, run.plan.find("joint"), "UCF", "test")


def test_a_part_without_a_readable_video_is_refused(run, tmp_path):
    parts = run.datasets["UCF"]
    moved = replace(parts, test=replace(parts.test, root=tmp_path))
    broken = replace(run, datasets={**run.datasets, "UCF": moved})
    with pytest.raises(InputError, match="UCF test: no video can be read; check DATASETS.UCF.ROOT"):
        extract_features(broken, run.plan.find("experts/UCF"), "UCF", "test")
