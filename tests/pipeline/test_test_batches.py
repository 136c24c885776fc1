"""Test batches that are bounded by the bytes of their views."""

import numpy as np

from videokd.data import test_views as views
from videokd.pipeline import scoring
from videokd.pipeline.scoring import predict_split, validate_training
from videokd.pipeline.train import run_training

OPTIONS = (
    *("TEST.NUM_ENSEMBLE_VIEWS", 2, "TEST.NUM_SPATIAL_CROPS", 3, "TEST.BATCH_SIZE", 5),
    *("SOLVER.MAX_EPOCH", 1, "TRAIN.EVAL_PERIOD", 0, "DATA.VAL_FRACTION", 0.25),
)


def test_a_small_bound_changes_the_batches_and_no_score(make_run, monkeypatch):
    run = make_run(*OPTIONS, is_dry=False)
    training = run.plan.find("experts/UCF")
    run_training(run, training)
    model = run.plan.load_model(training)
    sizes = []
    in_rounds = scoring._in_rounds

    def note(run, batches, num_rounds):
        for batch in in_rounds(run, batches, num_rounds):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr(scoring, "_in_rounds", note)
    expected = predict_split(run, training, model, "UCF")
    num_videos = len(expected.labels)
    assert sizes[0] == 5
    validated = validate_training(run, training, model)
    sizes.clear()
    # Less than one view: even so, a batch is one video.
    monkeypatch.setattr(views, "_MAX_BATCH_BYTES", 1)
    found = predict_split(run, training, model, "UCF")
    assert sizes == [1] * num_videos
    assert found.record_ids.tolist() == expected.record_ids.tolist()
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=1e-5)
    sizes.clear()
    assert validate_training(run, training, model) == validated
    assert set(sizes) == {1}
