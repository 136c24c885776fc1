"""Tasks as the pipeline builds them, for every training of an experiment."""

import pytest

from videokd.pipeline.baselines import BASELINES
from videokd.pipeline.step_cost import make_batch

EVERY = [key for key in BASELINES if key != "B2W"]  # whose networks here are not the experts'
OPTIONS = {
    "defaults": (),
    "generalist": ("DISTILL.INIT", "generalist"),
    "fine-tuned experts": ("JOINT.FINE_TUNE", "last_stage"),
    "experts and teachers dropped": ("JOINT.EXPERT_DROP", 0.5, "DISTILL.TEACHER_DROP", 0.9),
    "no feature loss": ("DISTILL.W_FEAT", 0.0),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_trained_weight_gets_a_gradient_in_every_step(make_run, options):
    """DistributedDataParallel waits for each of them, also when a dataset has no clip in a step."""
    run = make_run(*options, datasets=("UCF", "HMDB"), BASELINES=EVERY)
    classes = {name: splits.num_classes for name, splits in run.datasets.items()}
    for training in run.plan.trainings:
        task = training.build_task(training.build_model())
        batch = make_batch(training, classes)
        batch.dataset_ids[:] = batch.dataset_ids[0]
        batch.labels[:] = 0
        task(batch, 0.5).loss.backward()
        missing = [n for n, p in task.named_parameters() if p.requires_grad and p.grad is None]
        assert missing == [], training.folder
