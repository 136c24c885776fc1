"""NaN and infinity, wherever they may come from: no parameter ever takes them up.

Each place is spoilt at one step of a training, which ends as if that step had not been there; and
at every step from there on, which ends it with a message that names the place, the step and the
clips. The weights are then those of the last good step.
"""

import re
from dataclasses import replace

import pytest
import torch

from videokd.data.batch import ViewKey
from videokd.distill.feature_cache import FeatureCache
from videokd.distill.objective import DistillObjective, DistillOptions
from videokd.distill.projectors import Projectors
from videokd.distill.tasks import StudentTask
from videokd.engine.averaging import WeightAverage
from videokd.engine.metrics_log import read_metrics
from videokd.engine.optim import build_optimizer
from videokd.engine.stop import StopRequest
from videokd.engine.train import Learner, TrainSettings, train
from videokd.fusion.standardise import RunningStandardiser
from videokd.models.levels import compute_level_shapes
from videokd.utils.errors import RunError

LEVELS = ("stage2", "stage3", "embedding")
NUM_STEPS, BAD_STEP = 5, 2
SETTINGS = TrainSettings(
    num_steps=NUM_STEPS,
    base_lr=0.01,
    warmup_steps=0,
    clip_grad_norm=1.0,
    seed=0,
    log_period=1,
    eval_period=0,
    num_checkpoints=2,
    checkpoint_period_sec=1e-9,
    max_bad_videos=0,
    dataset_names=("a",),
    max_skipped=1,
)


class Spoiler:
    """Puts ``value`` into one element of what passes, at the steps that ``is_on`` says."""

    def __init__(self, learner, value, is_on):
        self.task, self.average = learner.task, learner.average
        self.value, self.is_on = value, is_on
        self.step = -1
        self.num_spoilt = 0
        self.task.register_forward_pre_hook(self._look_at_step)

    def _look_at_step(self, task, arguments):
        self.step = round(arguments[1] * NUM_STEPS)

    def __call__(self, tensor):
        if not self.is_on(self.step):
            return tensor
        self.num_spoilt += 1
        place = torch.randint(
            tensor.numel(), (), generator=torch.Generator().manual_seed(self.step)
        )
        mask = (torch.arange(tensor.numel()) == place).view_as(tensor)
        return torch.where(mask, self.value, tensor)


def _of_input(spoil):
    spoil.task.model.backbone.register_forward_pre_hook(lambda m, args: (spoil(args[0]),))


def _of_feature(network, level):
    def attach(spoil):
        task = spoil.task
        model = task.model if network == "student" else task.teacher.module

        def hook(module, arguments, seen):
            if level == "embedding":
                return replace(seen, embedding=spoil(seen.embedding))
            return replace(seen, levels={**seen.levels, level: spoil(seen.levels[level])})

        model.register_forward_hook(hook)

    return attach


def _of_logits(network):
    def attach(spoil):
        task = spoil.task
        model = task.model if network == "student" else task.teacher.module
        model.heads["a"].register_forward_hook(lambda m, args, logits: spoil(logits))

    return attach


def _of_logit_loss(spoil):
    objective = spoil.task.objective
    plain = objective.options.logit_loss
    objective.options = replace(objective.options, logit_loss=lambda *args: spoil(plain(*args)))


def _of_feature_loss(place):
    def attach(spoil):
        objective = spoil.task.objective
        plain, calls = objective.options.feature_loss, []

        def loss(*arguments):
            calls.append(0)
            value = plain(*arguments)
            return spoil(value) if (len(calls) - 1) % len(LEVELS) == place else value

        objective.options = replace(objective.options, feature_loss=loss)

    return attach


def _of_cross_entropy(spoil):
    objective = spoil.task.objective
    objective.register_forward_pre_hook(
        lambda m, args, named: (args, {**named, "ce": spoil(named["ce"])}), with_kwargs=True
    )


def _of_cached_target(spoil):
    spoil.task.cache = FeatureCache(2**30)
    plain = spoil.task.cache.__call__
    spoil.task.cache = lambda keys, ask: {
        **(said := plain(keys, ask)),
        "logits": spoil(said["logits"]),
    }


def _of_gradient(name):
    def attach(spoil):
        parameter = spoil.task.get_parameter(name)
        parameter.register_hook(spoil)

    return attach


def _of_buffer(name):
    def attach(spoil):
        buffer = spoil.task.get_buffer(name)
        spoil.task.register_forward_hook(
            lambda m, args, out: buffer.data.copy_(spoil(buffer)) is None or None
        )

    return attach


STEM, DEEP = "model.backbone.net.stem.0.weight", "model.backbone.net.layer3.0.conv1.0.weight"
NORM = "model.backbone.net.stem.1.running_"
NAN = "(nan|inf)"
# Place -> (how it is spoilt, what the message says of it). The terms that a place spoils name it.
PLACES = {
    "input": (_of_input, rf"loss is nan at .* statistic of {NORM}mean, {NORM}var and"),
    "teacher logits": (_of_logits("teacher"), f"kd {NAN}, ce [0-9]"),
    "teacher stage2": (_of_feature("teacher", "stage2"), f"feat_stage2 {NAN}, feat_stage3 [0-9]"),
    "teacher stage3": (_of_feature("teacher", "stage3"), f"feat_stage2 [0-9.]*, feat_stage3 {NAN}"),
    "teacher embedding": (_of_feature("teacher", "embedding"), f"feat_embedding {NAN}"),
    "cached target": (_of_cached_target, f"kd {NAN}, ce [0-9]"),
    "student stage2": (_of_feature("student", "stage2"), f"feat_stage2 {NAN}, feat_stage3 [0-9]"),
    "student stage3": (_of_feature("student", "stage3"), f"feat_stage2 [0-9.]*, feat_stage3 {NAN}"),
    "student embedding": (_of_feature("student", "embedding"), f"ce {NAN}.* feat_embedding {NAN}"),
    "student logits": (_of_logits("student"), f"kd {NAN}, ce {NAN}, feat_stage2 [0-9]"),
    "kd": (_of_logit_loss, f"kd {NAN}, ce [0-9]"),
    "ce": (_of_cross_entropy, f"loss is {NAN} at"),
    "feat_stage2": (_of_feature_loss(0), f"feat_stage2 {NAN}, feat_stage3 [0-9]"),
    "feat_stage3": (_of_feature_loss(1), f"feat_stage2 [0-9.]*, feat_stage3 {NAN}"),
    "feat_embedding": (_of_feature_loss(2), f"feat_stage3 [0-9.]*, feat_embedding {NAN}"),
    "first gradient": (_of_gradient(STEM), f"loss is [0-9].* gradient of {STEM} not finite"),
    "deep gradient": (_of_gradient(DEEP), f"loss is [0-9].* gradient of {DEEP} not finite"),
    "head's gradient": (_of_gradient("model.heads.a.bias"), "gradient of model.heads.a.bias not"),
    "projector's gradient": (
        _of_gradient("objective.projectors.projections.stage2.conv.weight"),
        "gradient of objective.projectors.projections.stage2.conv.weight not",
    ),
    "mean of a norm": (_of_buffer(f"{NORM}mean"), f"loss is [0-9].* statistic of {NORM}mean not"),
    "variance of a norm": (_of_buffer(f"{NORM}var"), f"loss is [0-9].* statistic of {NORM}var not"),
    "standardiser": (
        _of_buffer("objective.standardisers.stage2.mean"),
        "loss is [0-9].* statistic of objective.standardisers.stage2.mean not",
    ),
}
# In every test run; the others with `pytest -m faults`.
ALWAYS = ("input", "teacher logits", "feat_stage3", "deep gradient", "variance of a norm")


class Silence:
    def update(self, step, text):
        pass


@pytest.fixture
def run(make_classifier, make_batch, tmp_path):
    """``run(name, attach=None, value=0, is_on=None, empty=())`` -> the task, and whether it ended.

    Steps in ``empty`` have no clips.
    """

    def make_task():
        torch.manual_seed(0)
        student, teacher = make_classifier(), make_classifier()
        shapes = compute_level_shapes(student.backbone, (3, 4, 32, 32))
        objective = DistillObjective(
            DistillOptions(),
            projectors=Projectors(shapes, shapes, levels=LEVELS, kind="always"),
            num_levels=len(LEVELS),
            standardisers={"stage2": RunningStandardiser(shapes.levels["stage2"][0])},
        )
        return StudentTask(student, teacher, dataset="a", objective=objective)

    def batches(empty):
        def start(step):
            while True:
                batch = make_batch((0,) * 4 * (step not in empty), seed=step)
                keys = tuple(ViewKey(0, record, step) for record in range(len(batch)))
                yield replace(batch, view_keys=keys)
                step += 1

        return start

    def read_log(name):
        return read_metrics(tmp_path / name / "metrics.jsonl")

    def run_training(name, attach=None, *, value=0.0, is_on=None, empty=()):
        task = make_task()
        optimizer = build_optimizer(task, name="adamw", base_lr=0.01, weight_decay=0.05)
        learner = Learner(task, optimizer, WeightAverage(task.model, decay=0.5))
        spoil = Spoiler(learner, value, is_on)
        if attach is not None:
            attach(spoil)
        error = None
        with StopRequest() as stop:
            try:
                train(
                    learner,
                    batches(empty),
                    settings=SETTINGS,
                    folder=tmp_path / name,
                    evaluate=dict,
                    stop=stop,
                    progress=Silence(),
                )
            except RunError as caught:
                error = caught
        assert (spoil.num_spoilt > 0) == (is_on is not None)
        return {**task.state_dict(), **learner.average.module.state_dict(prefix="average.")}, error

    run_training.read_log = read_log
    return run_training


def _are_equal(state, other):
    return all(torch.equal(value, other[name]) for name, value in state.items())


@pytest.mark.faults
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", PLACES)
def test_no_place_that_is_not_finite_changes_anything(run, caplog, count_held, place, value):
    _check(run, caplog, place, value)
    count_held(f"places with {value}, skipped and named, then stopped")


@pytest.mark.parametrize("place", ALWAYS)
def test_what_is_not_finite_is_named_and_changes_nothing(run, caplog, place):
    _check(run, caplog, place, float("nan"))


def _check(run, caplog, place, value):
    attach, message = PLACES[place]
    expected, error = run("without", empty=(BAD_STEP,))
    assert error is None
    # Once: the step is skipped.
    found, error = run("once", attach, value=value, is_on=lambda step: step == BAD_STEP)
    assert error is None
    assert _are_equal(found, expected)
    assert [line["skipped_steps"] for line in run.read_log("once")] == [0, 0, 1, 1, 1]
    (warning,) = [r.getMessage() for r in caplog.records if "in a row" in r.getMessage()]
    assert re.search(message, warning), warning
    assert f"at step {BAD_STEP}, " in warning
    assert "record ids [0, 1, 2, 3]: skipped, 1 in a row of 1 allowed" in warning
    # For ever: one is skipped, the next ends it.
    found, error = run("always", attach, value=value, is_on=lambda step: step >= BAD_STEP)
    assert re.search(f"^2 steps in a row, the last: .*{message}", str(error)), error
    assert all(torch.isfinite(v).all() for v in found.values())
    before, _ = run("before", empty=range(BAD_STEP, NUM_STEPS))
    assert _are_equal(found, before)


def _of_weight(spoil):
    weight = spoil.task.get_parameter(STEM)
    once = []

    def hook(task, arguments):
        if spoil.is_on(spoil.step) and not once:
            once.append(weight.data.copy_(spoil(weight)))

    spoil.task.register_forward_pre_hook(hook)


def test_a_weight_that_a_machine_spoils_reaches_no_checkpoint(run):
    expected, _ = run("whole")
    _, error = run("spoilt", _of_weight, value=float("nan"), is_on=lambda step: step == BAD_STEP)
    assert re.search(f"^weight {STEM} is not finite after {BAD_STEP + 1} steps", str(error)), error
    found, error = run("spoilt")  # started again, it resumes from the checkpoint before
    assert error is None
    assert _are_equal(found, expected)


def _of_average(spoil):
    weight = spoil.average.module.get_parameter("heads.a.weight")
    spoil.task.register_forward_hook(
        lambda m, args, out: weight.copy_(spoil(weight)) is None or None
    )


def test_an_average_that_a_machine_spoils_reaches_no_checkpoint(run):
    _, error = run("spoilt", _of_average, value=float("nan"), is_on=lambda step: step == BAD_STEP)
    message = f"^averaged weight heads.a.weight is not finite after {BAD_STEP + 1} steps"
    assert re.search(message, str(error)), error
