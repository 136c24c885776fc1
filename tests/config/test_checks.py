import pytest

from videokd.config import default_config, named_node
from videokd.config.checks import check_config
from videokd.config.keys import NAMED_SECTIONS
from videokd.utils.errors import InputError


@pytest.fixture
def cfg():
    node = default_config()
    for section in NAMED_SECTIONS:
        for name in ("A", "B"):
            node[section][name] = named_node(section)
    return node


def test_the_defaults_are_allowed_and_left_as_they_are(cfg):
    before = cfg.clone()
    check_config(cfg)
    assert cfg == before


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DATA.DECODER", "opencv", "one of auto, pyav, decord, torchcodec; got 'opencv'"),
        ("SOLVER.OPTIMIZER", "lion", "one of adamw, sgd; got 'lion'"),
        ("TEST.NUM_SPATIAL_CROPS", 2, "one of 1, 3, 5; got 2"),
        ("TEST.CLIP_RULE", "random", "one of segment_centres, end_inclusive; got 'random'"),
        (
            "DATA.SAMPLER",
            "tsn",
            "must be one of dense, segments, non_local; got 'tsn'",
        ),
        ("TRAIN.LOGGERS", ["mlflow"], "TRAIN.LOGGERS must be one of tensorboard, wandb; got 'mlfl"),
        ("TRAIN.LOGGERS", ["wandb", "wandb"], "TRAIN.LOGGERS must name each logger once, got"),
        ("TRAIN.PROFILE_STEPS", [3], r"must be \[\] or \[first, last\] with .*, got \[3\]"),
        ("TRAIN.PROFILE_STEPS", [5, 3], r"1 <= first <= last, got \[5, 3\]"),
        ("TRAIN.PROFILE_STEPS", [0, 3], r"1 <= first <= last, got \[0, 3\]"),
        ("TRAIN.PROFILE_STEPS", [1, 2.5], r"1 <= first <= last, got \[1, 2.5\]"),
        (
            "DATA.SHORT_VIDEO",
            "pad",
            "DATA.SHORT_VIDEO must be one of spread, clamp, loop; got 'pad'",
        ),
        ("DATA.AUGMENT_ON", "gpu", "DATA.AUGMENT_ON must be one of worker, device; got 'gpu'"),
        ("DATA.TARGET_FPS", -1.0, "DATA.TARGET_FPS must be >= 0 .*, got -1.0"),
        ("DATA.TRAIN_JITTER_SCALES", [256.0], r"must be \[\] or \[low, high\] .* got \[256.0\]"),
        ("DATA.TRAIN_JITTER_SCALES", [320.0, 256.0], r"112 <= low <= high, got \[320.0, 256.0\]"),
        ("DATA.TRAIN_JITTER_SCALES", [100.0, 256.0], r"112 <= low <= high, got \[100.0, 256.0\]"),
        ("AUG.RAND_NUM_OPS", -1, "AUG.RAND_NUM_OPS must be >= 0 .*, got -1"),
        ("AUG.RAND_MAGNITUDE", 11.0, "AUG.RAND_MAGNITUDE must be >= 0 and <= 10, got 11.0"),
        ("AUG.ERASE_PROBABILITY", 1.5, "AUG.ERASE_PROBABILITY must be >= 0 and <= 1, got 1.5"),
        ("AUG.SATURATION_JITTER", 1.5, "AUG.SATURATION_JITTER must be >= 0 and <= 1, got 1.5"),
        ("BASELINES", ["B1", "B8"], "BASELINES must be one of .*; got 'B8'"),
        ("EXPORT.FORMATS", ["pt2"], "one of pth, safetensors, onnx; got 'pt2'"),
        ("DATASETS.B.FORMAT", "avi", "DATASETS.B.FORMAT must be one of .*; got 'avi'"),
        ("DATASETS.B.FLIP", "no", "DATASETS.B.FLIP must be one of auto, keep, swap, off; got 'no'"),
        ("DATASETS.B.SEPARATOR", "", "DATASETS.B.SEPARATOR must be auto or some characters"),
        ("DATASETS.B.GROUP_PATTERN", "(", r"GROUP_PATTERN '\(' is no regular expression"),
        ("DATASETS.B.LEFT_RIGHT_PAIRS", [["a"]], r"must hold \[name, name\], got \['a'\]"),
        ("DATASETS.B.LEFT_RIGHT_PAIRS", ["ab"], r"must hold \[name, name\], got 'ab'"),
        ("DATASETS.B.LOSS_WEIGHT", 0.0, "DATASETS.B.LOSS_WEIGHT must be > 0 .*, got 0.0"),
        ("EXPERTS.A.PRECISION", "fp8", "EXPERTS.A.PRECISION must be .*; got 'fp8'"),
        ("TRAIN.ACCUMULATE", 0, "TRAIN.ACCUMULATE must be >= 1 .*, got 0"),
        ("TRAIN.ACCUMULATE", 9, "ACCUMULATE 9 must leave 2 clips .*_SIZE 16: at most 8"),
        ("TRAIN.MAX_SKIPPED_STEPS", -1, "TRAIN.MAX_SKIPPED_STEPS must be >= 0 .*, got -1"),
        ("STUDENTS.A.WIDTH_FACTOR", 0.0, "STUDENTS.A.WIDTH_FACTOR must be > 0 .*, got 0.0"),
        ("STUDENTS.A.MEAN", [0.5], r"MEAN must hold 3 numbers \(R, G, B\), or none .* got \[0.5\]"),
        (
            "STUDENTS.A.STD",
            [0.5, 0.0, 1.0],
            r"STD must be 0 < x <= 1, .* got \[0.5, 0.0, 1.0\]$",
        ),
        ("STUDENTS.A.MEAN", ["a", "b", "c"], r"MEAN must hold 3 numbers .* got \['a', 'b', 'c'\]"),
        ("STUDENTS.A.MEAN", [-0.1, 0.0, 0.0], r"MEAN must be 0 <= x <= 1, for RGB in \[0, 1\]"),
        (
            "EXPERTS.A.MEAN",
            [123.675, 116.28, 103.53],
            r"EXPERTS.A.MEAN must be 0 <= x <= 1, for RGB in \[0, 1\], got \[123.675, 116.28, "
            r"103.53\]; divide those of 0 .. 255 by 255: \[0.485, 0.456, 0.406\]",
        ),
        ("EXPERTS.B.STD", [58.395, 57.12, 57.375], r"by 255: \[0.229, 0.224, 0.225\]"),
        ("STUDENTS.A.STD", [0.5, float("nan"), 1.0], "STD must be 0 < x <= 1"),
        ("DATA.NUM_FRAMES", 0, "DATA.NUM_FRAMES must be >= 1 and <= 1024, got 0"),
        ("DATA.CROP_SIZE", 200, "CROP_SIZE 200 must be <= DATA.SHORT_SIDE 128"),
        ("EXPERTS.A.NUM_FRAMES", -2, "EXPERTS.A.NUM_FRAMES must be >= -1 and <= 1024, got -2"),
        ("STUDENTS.B.SAMPLING_RATE", -2, "STUDENTS.B.SAMPLING_RATE must be >= -1 .*, got -2"),
        ("EXPERTS.A.CROP_SIZE", 7, r"must be 0 \(= DATA.CROP_SIZE\), -1 .* or >= 8, got 7"),
        ("EXPERTS.A.CROP_SIZE", 113, "A.CROP_SIZE 113 must be <= DATA.CROP_SIZE 112, the box"),
        ("DATA.TRAIN_SCALE_RANGE", [0.5], r"must be \[low, high\] .*, got \[0.5\]"),
        ("DATA.TRAIN_SCALE_RANGE", [0.5, 1.5], "at most 1, got"),
        ("DATA.TRAIN_RATIO_RANGE", [2.0, 1.0], r"0 < low <= high, got \[2.0, 1.0\]"),
        ("SOLVER.BASE_LR", float("nan"), "SOLVER.BASE_LR must be > 0 .*, got nan"),
        ("SOLVER.BASE_LR", float("inf"), "SOLVER.BASE_LR must be > 0 .*, got inf"),
        ("DISTILL.TEMPERATURE", 0.0, "DISTILL.TEMPERATURE must be > 0"),
        ("JOINT.LEVELS", ["stage5"], "JOINT.LEVELS must be one of .*; got 'stage5'"),
        ("JOINT.LEVELS", ["stage3", "stage2"], "each level once, from low to high"),
        ("JOINT.LEVELS", ["stage2", "stage2"], "each level once, from low to high"),
        ("JOINT.SHAPES_FROM", "C", "JOINT.SHAPES_FROM must be one of first, A, B; got 'C'"),
        ("JOINT.TOPOLOGY", "star", "JOINT.TOPOLOGY must be one of pyramid, trunk; got 'star'"),
        ("JOINT.SCOPE", "one", "JOINT.SCOPE must be one of all, target; got 'one'"),
        ("JOINT.STANDARDISE", "norm", "one of none, batch_norm, running, phi_s; got 'norm'"),
        ("JOINT.FINE_TUNE", "head", "JOINT.FINE_TUNE must be one of none, last_stage, all"),
        ("JOINT.FINE_TUNE_LR_SCALE", 0.0, "JOINT.FINE_TUNE_LR_SCALE must be > 0 .*, got 0.0"),
        ("JOINT.EXPERT_DROP", 1.0, "JOINT.EXPERT_DROP must be >= 0 and <= 0.99, got 1.0"),
        ("JOINT.EXPERTS", ["C"], "JOINT.EXPERTS must be one of A, B; got 'C'"),
        ("JOINT.EXPERTS", ["B", "A"], r"in the order of DATASETS \(A, B\), got \['B', 'A'\]"),
        ("JOINT.EXPERTS", ["A", "A"], "JOINT.EXPERTS must name each expert once"),
        ("BASELINES", ["B6"], "BASELINES must be one of B1, B1x, B2, .*; got 'B6'"),
        ("DISTILL.STANDARDISE", "batch_norm", "one of none, running, phi_s; got 'batch_norm'"),
        ("DISTILL.TEACHING", "free", "one of consistent, fixed; got 'free'"),
        ("DISTILL.CLIPS", "some", "DISTILL.CLIPS must be one of own, all; got 'some'"),
        ("DISTILL.PROJECTOR", "never", "DISTILL.PROJECTOR must be one of auto, always"),
        ("DISTILL.TEACHER_DROP", 1.0, "DISTILL.TEACHER_DROP must be >= 0 and <= 0.99, got 1.0"),
        ("DISTILL.LEVEL_WEIGHTS.stage2", -1.0, "LEVEL_WEIGHTS.stage2 must be >= 0 .*, got -1.0"),
        ("DISTILL.LEVEL_SCHEDULES.embedding", "up", "SCHEDULES.embedding must be one of constant"),
        ("DISTILL.CACHE_GIB", -1.0, "DISTILL.CACHE_GIB must be >= 0"),
        ("DISTILL.CACHE_GIB", 1.0, "clips that come again; set DATA.VIEWS_PER_VIDEO to their"),
        ("DATA.MIX", "fair", "one of proportional, balanced, temperature; got 'fair'"),
        ("DATA.MIX_TEMPERATURE", 0.5, "DATA.MIX_TEMPERATURE must be >= 1 .*, got 0.5"),
        ("DATA.REPEATED_AUG", 0, "DATA.REPEATED_AUG must be >= 1 .*, got 0"),
        ("DATA.REPEATED_AUG", 3, "DATA.REPEATED_AUG 3 must divide TRAIN.BATCH_SIZE 16"),
        ("DATA.VIEWS_PER_VIDEO", -1, "DATA.VIEWS_PER_VIDEO must be >= 0 .*, got -1"),
        ("MIXUP.ALPHA", -0.1, "MIXUP.ALPHA must be >= 0 .*, got -0.1"),
        ("MIXUP.CUTMIX_ALPHA", float("nan"), "MIXUP.CUTMIX_ALPHA must be >= 0"),
        ("SOLVER.EMA_DECAY", 1.0, "SOLVER.EMA_DECAY must be >= 0 and <= 0.99999, got 1.0"),
        ("SOLVER.LR_POLICY", "poly", "one of cosine, step, one_cycle, constant; got 'poly'"),
        (
            "SOLVER.LR_POLICY",
            "step",
            r"SOLVER.STEPS is needed with .* step, .*: got \[\] with step",
        ),
        ("SOLVER.STEPS", [0.5], r"and with no other: got \[0.5\] with cosine"),
        (
            "SOLVER.STEPS",
            [0.5, 0.5],
            r"rising fractions of the training in \(0, 1\), got \[0.5, 0.5",
        ),
        (
            "SOLVER.STEPS",
            [0.5, 1.0],
            r"rising fractions of the training in \(0, 1\), got \[0.5, 1.0",
        ),
        ("SOLVER.STEPS", [float("nan")], "rising fractions of the training"),
        ("SOLVER.LAYER_DECAY", 0.0, "SOLVER.LAYER_DECAY must be > 0 and <= 1, got 0.0"),
        ("SOLVER.LAYER_DECAY", 1.1, "SOLVER.LAYER_DECAY must be > 0 and <= 1, got 1.1"),
        ("SOLVER.BASE_BATCH_SIZE", -1, "SOLVER.BASE_BATCH_SIZE must be >= 0"),
        ("SOLVER.PRECISE_BN_BATCHES", -1, "SOLVER.PRECISE_BN_BATCHES must be >= 0"),
        ("SYNTHETIC.SEED", -1, "SYNTHETIC.SEED must be >= 0"),
        ("STUDENTS.A.TRAIN", False, "STUDENTS.A.TRAIN must be True: only an expert can be ready-"),
        (
            "EXPERTS.A.TRAIN",
            False,
            "EXPERTS.A.TRAIN False needs EXPERTS.A.WEIGHTS, which is random",
        ),
        ("EXPERTS.A.WEIGHTS_RENAME", [["a", "b"]], "A.WEIGHTS_RENAME needs EXPERTS.A.WEIGHTS, whi"),
        ("EXPERTS.A.WEIGHTS_RENAME", ["ab"], r"must hold \[pattern, replacement\], got 'ab'"),
        ("EXPERTS.A.WEIGHTS_RENAME", [["a"]], r"must hold \[pattern, replacement\], got \['a'\]"),
        ("EXPERTS.A.WEIGHTS_RENAME", [["(", ""]], r"\['\(', ''\] is no regular expression with"),
        ("EXPERTS.A.WEIGHTS_RENAME", [["a", "\\1"]], "is no regular expression with its replacem"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_what_is(cfg, key, value, message):
    _set(cfg, key, value)
    with pytest.raises(InputError, match=message):
        check_config(cfg)


@pytest.mark.parametrize(("key", "value"), [("MAX_EPOCH", 3), ("BASE_LR", 0.1)])
def test_an_expert_that_is_not_trained_has_no_schedule(cfg, key, value):
    cfg.EXPERTS.A.WEIGHTS, cfg.EXPERTS.A.TRAIN = "a.pth", False
    check_config(cfg)
    cfg.EXPERTS.A[key] = value
    with pytest.raises(InputError, match="A.BASE_LR and MAX_EPOCH are not read with TRAIN False"):
        check_config(cfg)


def _set(cfg, key, value):
    *nodes, last = key.split(".")
    for name in nodes:
        cfg = cfg[name]
    assert last in cfg
    cfg[last] = value


_MIX, _CACHE = "MIXUP.ALPHA", "DISTILL.CACHE_GIB"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"MIXUP.CUTMIX_ALPHA": 1.0, "DISTILL.TEACHING": "fixed"},
            "fixed gives the teacher other clips than the student, which cannot be mixed alike",
        ),
        ({_CACHE: 1.0, _MIX: 0.2, "DATA.VIEWS_PER_VIDEO": 2}, "caches outputs for unmixed clips"),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_what_does(cfg, values, message):
    for key, value in values.items():
        _set(cfg, key, value)
    with pytest.raises(InputError, match=message):
        check_config(cfg)
    # Each of them is allowed where the first to be named is as it was by default.
    _set(cfg, next(iter(values)), 0.0 if isinstance(next(iter(values.values())), float) else "own")
    check_config(cfg)


@pytest.mark.parametrize("flip", ["keep", "off"])
def test_left_right_pairs_that_nothing_would_read_are_refused(cfg, flip):
    cfg.DATASETS.A.LEFT_RIGHT_PAIRS = [["turn left", "turn right"]]
    check_config(cfg)
    cfg.DATASETS.A.FLIP = flip
    with pytest.raises(InputError, match=f"LEFT_RIGHT_PAIRS is not read with FLIP {flip}; set"):
        check_config(cfg)


@pytest.mark.parametrize(
    "values",
    [
        {"JOINT.LEVELS": []},
        {"JOINT.EXPERTS": ["B"], "JOINT.SCOPE": "target", "JOINT.TOPOLOGY": "trunk"},
        {"JOINT.FINE_TUNE": "all", "JOINT.EXPERT_DROP": 0.5, "JOINT.STANDARDISE": "phi_s"},
        {_CACHE: 1.0, "DATA.VIEWS_PER_VIDEO": 2, "DISTILL.TEACHING": "fixed"},
        {_MIX: 0.2, "MIXUP.CUTMIX_ALPHA": 1.0, "DISTILL.LOGIT_LOSS.NAME": "dist"},
        {"DISTILL.CLIPS": "all", _MIX: 0.2, "DISTILL.TEACHER_DROP": 0.5},
        {"BASELINES": ["B1", "B2", "B3", "B4", "B5", "B7"], "SOLVER.EMA_DECAY": 0.999},
        {"SOLVER.LR_POLICY": "step", "SOLVER.STEPS": [0.25, 0.5], "SOLVER.LAYER_DECAY": 0.75},
        {"DISTILL.W_KD": 0.0, "DISTILL.W_CE": 0.0, "DISTILL.LEVEL_SCHEDULES.stage1": "falling"},
    ],
)
def test_choices_that_go_together_are_allowed(cfg, values):
    for key, value in values.items():
        _set(cfg, key, value)
    assert check_config(cfg) is None  # else it raises, naming the key


def test_as_many_views_are_needed_as_are_taken_at_once(cfg):
    cfg.DATA.VIEWS_PER_VIDEO, cfg.DATA.REPEATED_AUG = 2, 4
    with pytest.raises(InputError, match="REPEATED_AUG 4 takes so many .* allows 2; raise that"):
        check_config(cfg)
    cfg.DATA.VIEWS_PER_VIDEO = 4
    check_config(cfg)


@pytest.mark.parametrize("section", ["EXPERTS", "STUDENTS"])
def test_every_dataset_needs_its_expert_and_its_student(cfg, section):
    del cfg[section]["B"]
    with pytest.raises(InputError, match=rf"{section} must name the same datasets as DATASETS"):
        check_config(cfg)


def test_a_config_without_datasets_is_refused():
    with pytest.raises(InputError, match="DATASETS is empty"):
        check_config(default_config())


def test_weights_that_are_all_zero_are_refused(cfg):
    cfg.DISTILL.W_KD = cfg.DISTILL.W_FEAT = cfg.DISTILL.W_CE = 0.0
    with pytest.raises(InputError, match="all 0: nothing would be learnt"):
        check_config(cfg)


def test_a_compiled_network_keeps_its_activations(cfg):
    _set(cfg, "STUDENTS.A.COMPILE", True)
    check_config(cfg)
    _set(cfg, "STUDENTS.A.CHECKPOINT_ACTIVATIONS", True)
    with pytest.raises(InputError, match="STUDENTS.A.COMPILE and .* do not go together yet"):
        check_config(cfg)
