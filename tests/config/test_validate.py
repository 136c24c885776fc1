import pytest

from videokd.config.defaults import TEMPLATES, default_config
from videokd.config.validate import validate_config
from videokd.utils.errors import InputError


@pytest.fixture
def cfg():
    node = default_config()
    for section, template in TEMPLATES.items():
        for name in ("A", "B"):
            node[section][name] = template()
    return node


def test_the_defaults_are_allowed_and_left_as_they_are(cfg):
    before = cfg.clone()
    validate_config(cfg)
    assert cfg == before


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DATA.DECODER", "opencv", "one of auto, pyav, decord; got 'opencv'"),
        ("SOLVER.OPTIMIZER", "lion", "one of adamw, sgd; got 'lion'"),
        ("TEST.NUM_SPATIAL_CROPS", 2, "one of 1, 3; got 2"),
        ("BASELINES", ["B1", "B9"], "BASELINES must be one of .*; got 'B9'"),
        ("EXPORT.FORMATS", ["pt2"], "one of pth, safetensors, onnx; got 'pt2'"),
        ("DATASETS.B.FORMAT", "avi", "DATASETS.B.FORMAT must be one of .*; got 'avi'"),
        ("DATASETS.B.LOSS_WEIGHT", 0.0, "DATASETS.B.LOSS_WEIGHT must be > 0 .*, got 0.0"),
        ("EXPERTS.A.PRECISION", "fp16", "EXPERTS.A.PRECISION must be .*; got 'fp16'"),
        ("STUDENTS.A.WIDTH_FACTOR", 0.0, "STUDENTS.A.WIDTH_FACTOR must be > 0 .*, got 0.0"),
        ("STUDENTS.A.MEAN", [0.5], r"MEAN must hold 3 numbers \(R, G, B\), got \[0.5\]"),
        ("STUDENTS.A.STD", [0.5, 0.0, 1.0], r"STD must be > 0, got \[0.5, 0.0, 1.0\]"),
        ("STUDENTS.A.STD", [0.5, float("nan"), 1.0], "STD must be > 0"),
        ("DATA.NUM_FRAMES", 0, "DATA.NUM_FRAMES must be >= 1 and <= 1024, got 0"),
        ("DATA.CROP_SIZE", 200, "CROP_SIZE 200 must be <= DATA.SHORT_SIDE 128"),
        ("DATA.TRAIN_SCALE_RANGE", [0.5], r"must be \[low, high\] .*, got \[0.5\]"),
        ("DATA.TRAIN_SCALE_RANGE", [0.5, 1.5], "at most 1, got"),
        ("DATA.TRAIN_RATIO_RANGE", [2.0, 1.0], r"0 < low <= high, got \[2.0, 1.0\]"),
        ("SOLVER.BASE_LR", float("nan"), "SOLVER.BASE_LR must be > 0 .*, got nan"),
        ("SOLVER.BASE_LR", float("inf"), "SOLVER.BASE_LR must be > 0 .*, got inf"),
        ("DISTILL.TEMPERATURE", 0.0, "DISTILL.TEMPERATURE must be > 0"),
        ("JOINT.LEVELS", [], "JOINT.LEVELS is empty; name one or more of stage1"),
        ("JOINT.LEVELS", ["stage5"], "JOINT.LEVELS must be one of .*; got 'stage5'"),
        ("JOINT.LEVELS", ["stage3", "stage2"], "each level once, from low to high"),
        ("JOINT.LEVELS", ["stage2", "stage2"], "each level once, from low to high"),
        ("JOINT.SHAPES_FROM", "C", "JOINT.SHAPES_FROM must be one of A, B; got 'C'"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_what_is(cfg, key, value, message):
    *nodes, last = key.split(".")
    node = cfg
    for name in nodes:
        node = node[name]
    node[last] = value
    with pytest.raises(InputError, match=message):
        validate_config(cfg)


@pytest.mark.parametrize("section", ["EXPERTS", "STUDENTS"])
def test_every_dataset_needs_its_expert_and_its_student(cfg, section):
    del cfg[section]["B"]
    with pytest.raises(InputError, match=rf"{section} must name the same datasets as DATASETS"):
        validate_config(cfg)


def test_a_config_without_datasets_is_refused():
    with pytest.raises(InputError, match="DATASETS is empty"):
        validate_config(default_config())


def test_weights_that_are_all_zero_are_refused(cfg):
    cfg.DISTILL.W_KD = cfg.DISTILL.W_FEAT = cfg.DISTILL.W_CE = 0.0
    with pytest.raises(InputError, match="all 0: nothing would be learnt"):
        validate_config(cfg)
