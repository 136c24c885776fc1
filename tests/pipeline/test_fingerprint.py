"""Every key of the table changes the fingerprints that it should, and no others."""

import pytest

from videokd.config import override_config
from videokd.config.keys import KEYS
from videokd.models.build import fill_model_inputs
from videokd.pipeline.plan import ExperimentPlan

BASELINES = ["B1", "B2", "B3", "B4", "B5", "B7"]
NAMES = ("UCF", "HMDB", "KINETICS")
SHARED = {"B2/UCF-HMDB-KINETICS", "B3/UCF-HMDB-KINETICS"}
STUDENTS = {"students", "B7"}
EXPERT = {"experts/HMDB", "B4/HMDB", "B5", "B5_teachers", "joint", "students"}
EVERY = {"experts", "B1", "B4", "B5", "B5_teachers", "joint", "students", "B7", *SHARED}
# Rows that change with the keys of each group; a row without a dataset changes for all datasets.
# <NAME> is HMDB, whose expert and student are of different kinds.
EXPECTED = {
    "nothing": set(),
    "all": EVERY,
    "dataset": {*EXPERT, *SHARED, "B1/HMDB", "B7/HMDB"},
    "several": {"joint", "students", *SHARED},
    "joint": {"joint", *STUDENTS},
    "logits": {"B4", "B5", *STUDENTS},
    "features": STUDENTS,
    # The control B7 depends on what the teacher is, not on how it or its experts were trained.
    "EXPERTS": {*EXPERT, "B7"},
    "EXPERTS schedule": EXPERT,
    "STUDENTS": {f"{row}/HMDB" for row in ("students", "B1", "B4", "B5", "B7")},
    "STUDENTS schedule": {
        f"{row}/HMDB" for row in ("students", "B1", "B4", "B5", "B5_teachers", "B7")
    },
    "joint schedule": {"joint", "students"},
    "fused experts": {"joint", "B5", "B5_teachers", *STUDENTS},
}
NETWORK = {
    **{"ARCH": "r2plus1d_18", "WIDTH_FACTOR": 0.25, "DEPTH_FACTOR": 1.0, "DROPOUT": 0.5},
    **{"NUM_FRAMES": 8, "SAMPLING_RATE": 1, "CROP_SIZE": 16, "MEAN": [0.0, 0.0, 0.0]},
    **{"STD": [1.0, 1.0, 1.0], "COLOR_ORDER": "bgr", "PRECISION": "bf16"},
    **{"MEMORY_FORMAT": "channels_last_3d", "COMPILE": True},
}
# Group -> key -> another value.
VALUES = {
    "nothing": {
        **{"OUTPUT_DIR": "elsewhere", "DEVICE": "cuda", "BASELINES": BASELINES[::-1]},
        **{"DATA.AUGMENT_ON": "device", "DATA.MAX_BAD_FRACTION": 0.5, "DATA.INDEX_DIR": "x"},
        **{"DATA.FRAME_CACHE": "", "DATA.FRAME_CACHE_MAX_GIB": 1.0},
        **{"DATA_LOADER.NUM_WORKERS": 1, "DATA_LOADER.NUM_THREADS": 2},
        **{"DATA_LOADER.TIMEOUT_SEC": 5.0, "TRAIN.TF32": False, "TRAIN.MAX_SKIPPED_STEPS": 0},
        **{"TRAIN.LOG_PERIOD": 7, "TRAIN.EVAL_PERIOD": 0, "TRAIN.CHECKPOINT_PERIOD_SEC": 5.0},
        **{"TRAIN.NUM_CHECKPOINTS": 1, "TRAIN.LOGGERS": ["tensorboard"]},
        **{"TRAIN.PROFILE_STEPS": [1, 2], "TRAIN.RANK_TIMEOUT_SEC": 5.0},
        **{"TEST.NUM_ENSEMBLE_VIEWS": 9, "TEST.BATCH_SIZE": 2},
        **{"TEST.CLIP_RULE": "end_inclusive", "TEST.NUM_SPATIAL_CROPS": 3},
        **{"EXPORT.FORMATS": ["pth"], "EXPERTS.<NAME>.CHECKPOINT_ACTIVATIONS": True},
        "STUDENTS.<NAME>.CHECKPOINT_ACTIVATIONS": True,
    },
    "all": {
        **{"SEED": 1, "DATA.NUM_FRAMES": 8, "DATA.SAMPLING_RATE": 2, "DATA.SAMPLER": "segments"},
        **{"DATA.TARGET_FPS": 5.0, "DATA.SHORT_VIDEO": "loop", "DATA.SHORT_SIDE": 40},
        **{"DATA.CROP_SIZE": 24, "DATA.CROP_SHAPE": "frame"},
        **{"DATA.TRAIN_SCALE_RANGE": [0.4, 1.0]},
        **{"DATA.TRAIN_RATIO_RANGE": [0.5, 2.0], "DATA.TRAIN_JITTER_SCALES": [32.0, 40.0]},
        **{"DATA.RANDOM_FLIP": False, "DATA.COLOR_JITTER": 0.0, "DATA.DECODER": "pyav"},
        **{"DATA.MIX": "balanced", "DATA.REPEATED_AUG": 2, "DATA.VAL_FRACTION": 0.0},
        **{"DATA.VIEWS_PER_VIDEO": 2, "AUG.RAND_NUM_OPS": 2, "AUG.ERASE_PROBABILITY": 0.25},
        **{"AUG.SATURATION_JITTER": 0.2, "MIXUP.ALPHA": 0.2, "MIXUP.CUTMIX_ALPHA": 0.2},
        **{"SOLVER.OPTIMIZER": "sgd", "SOLVER.BASE_LR": 0.1, "SOLVER.BASE_BATCH_SIZE": 256},
        **{"SOLVER.LR_POLICY": "constant", "SOLVER.LAYER_DECAY": 0.75, "SOLVER.BETA2": 0.99},
        **{"SOLVER.WEIGHT_DECAY": 0.0, "SOLVER.MAX_EPOCH": 3, "SOLVER.WARMUP_SHARE": 0.0},
        **{"SOLVER.CLIP_GRAD_NORM": 1.0, "SOLVER.EMA_DECAY": 0.9, "TRAIN.SYNC_BN": True},
        **{"SOLVER.PRECISE_BN_BATCHES": 2, "TRAIN.BATCH_SIZE": 4, "TRAIN.ACCUMULATE": 2},
    },
    "dataset": {"DATASETS.<NAME>.SPLIT": 2, "DATASETS.<NAME>.FLIP": "off"},
    "several": {"DATASETS.<NAME>.LOSS_WEIGHT": 2.0},
    "joint": {
        **{"JOINT.MIX": "gates", "JOINT.TOPOLOGY": "trunk", "JOINT.LEVELS": [], "JOINT.WIDTH": 16},
        **{"JOINT.DROPOUT": 0.1, "JOINT.STANDARDISE": "phi_s", "JOINT.EXPERT_DROP": 0.25},
        **{"JOINT.FINE_TUNE": "last_stage", "JOINT.FINE_TUNE_LR_SCALE": 0.5},
    },
    "joint schedule": {"JOINT.BASE_LR": 0.5, "JOINT.MAX_EPOCH": 3},
    "fused experts": {"JOINT.EXPERTS": ["UCF", "HMDB"]},
    "logits": {
        **{"DISTILL.BASE_LR": 0.5, "DISTILL.MAX_EPOCH": 3, "DISTILL.W_KD_SCHEDULE": "rising"},
        **{"DISTILL.W_KD": 0.5, "DISTILL.W_CE": 0.5, "DISTILL.TEMPERATURE": 4.0},
        **{"DISTILL.LOGIT_LOSS.NAME": "dist", "DISTILL.STANDARDISE_LOGITS": True},
        **{"DISTILL.TEACHING": "fixed", "DISTILL.CLIPS": "all", "DISTILL.TEACHER_DROP": 0.5},
    },
    "features": {
        **{"DISTILL.W_FEAT": 0.5, "DISTILL.W_FEAT_SCHEDULE": "falling"},
        **{"DISTILL.FEATURE_LOSS.NAME": "attention"},
        **{"DISTILL.STANDARDISE": "running", "DISTILL.PROJECTOR": "always"},
        **{name: "rising" for name in KEYS if "LEVEL_SCHEDULES" in name},
        **{name: 0.5 for name in KEYS if "LEVEL_WEIGHTS" in name},
        **{name: "attention" for name in KEYS if "FEATURE_LOSS_AT" in name and "NAME" in name},
    },
    "EXPERTS": {f"EXPERTS.<NAME>.{key}": value for key, value in NETWORK.items()},
    "STUDENTS": {f"STUDENTS.<NAME>.{key}": value for key, value in NETWORK.items()},
    "EXPERTS schedule": {"EXPERTS.<NAME>.BASE_LR": 0.5, "EXPERTS.<NAME>.MAX_EPOCH": 5},
    "STUDENTS schedule": {"STUDENTS.<NAME>.BASE_LR": 0.5, "STUDENTS.<NAME>.MAX_EPOCH": 5},
}
# Keys that need other files, keys or datasets: tested by name in this folder.
WEIGHTS = ("WEIGHTS", "WEIGHTS_RENAME", "WEIGHTS_STRICT", "TRAIN")
ELSEWHERE = {
    *("SYNTHETIC.ROOT", "SYNTHETIC.PROFILE", "SYNTHETIC.SEED", "SOLVER.STEPS", "JOINT.SCOPE"),
    *("JOINT.SHAPES_FROM", "DATA.MIX_TEMPERATURE", "AUG.RAND_MAGNITUDE", "DISTILL.CACHE_GIB"),
    *(f"DATASETS.<NAME>.{key}" for key in ("FORMAT", "ROOT", "ANNOTATIONS", "SEPARATOR")),
    *("DISTILL.INIT", *(name for name in KEYS if name.startswith(("GENERALIST", "BASELINE.")))),
    *("DATASETS.<NAME>.GROUP_PATTERN", "DATASETS.<NAME>.LEFT_RIGHT_PAIRS"),
    *(f"{section}.<NAME>.{key}" for section in ("EXPERTS", "STUDENTS") for key in WEIGHTS),
    *(name for name in KEYS if name.startswith("VARIANTS.") or KEYS[name].is_option),
}
# Values that stand for the values that the keys have, or that nothing reads.
SAME = [
    ("TRAIN.ACCUMULATE", 1),
    ("SYNTHETIC.SEED", 3),  # of videos that this experiment does not generate
    ("JOINT.MAX_EPOCH", 2),
    ("JOINT.SHAPES_FROM", "UCF"),
    ("JOINT.SHAPES_FROM", "HMDB"),  # a student of the same kind
    ("JOINT.EXPERTS", [*NAMES]),
    ("EXPERTS.UCF.BASE_LR", 1e-3),
    ("EXPERTS.UCF.NUM_FRAMES", 4),
    ("STUDENTS.UCF.SAMPLING_RATE", 4),
    ("EXPERTS.HMDB.CROP_SIZE", 32),
    ("DATA.MIX_TEMPERATURE", 3.0),  # of another mix
    ("AUG.RAND_MAGNITUDE", 3.0),  # of no operations
    ("DISTILL.FEATURE_LOSS_AT.stage2.NAME", "mse"),
]


@pytest.fixture
def changed_by(make_run):
    """``changed_by(*words)``: rows whose fingerprints the overrides change, see ``EXPECTED``."""
    run = make_run(BASELINES=BASELINES)
    before = _fingerprints(run.plan)

    def compare(*words):
        if words[0].startswith("DATASETS") or words[0] == "DATA.VAL_FRACTION":
            plan = make_run(*words, BASELINES=BASELINES).plan
        else:
            cfg = fill_model_inputs(override_config(run.cfg, words, source="the test"))
            plan = ExperimentPlan(cfg, run.datasets, run.folder, is_dry=True)
        after = _fingerprints(plan)
        folders = {f for f in before.keys() & after.keys() if before[f] != after[f]}
        return {_row(folder, folders, before.keys()) for folder in folders}

    return compare


def _fingerprints(plan):
    return {t.folder.removeprefix("baselines/"): t.fingerprint for t in plan.trainings}


def _row(folder, changed, known):
    row, _, name = folder.rpartition("/")
    whole = {f"{row}/{each}" for each in NAMES} & known
    return row if name in NAMES and whole <= changed else folder


def test_every_key_has_a_value_here_or_a_test_elsewhere():
    values = [name for group in VALUES.values() for name in group]
    assert sorted([*values, *ELSEWHERE]) == sorted(KEYS)
    for group, names in VALUES.items():
        affects = {"EXPERTS": "network", "STUDENTS": "network", "fused": "joint"}
        word = group.split()[0]
        assert {KEYS[name].affects for name in names} == {affects.get(word, word)}


def test_every_key_changes_the_fingerprints_that_it_should_and_no_others(changed_by):
    wrong = {}
    for group, values in VALUES.items():
        for name, value in values.items():
            found = changed_by(name.replace("<NAME>", "HMDB"), value)
            if found != EXPECTED[group]:
                wrong[name] = (found - EXPECTED[group], EXPECTED[group] - found)
    assert not wrong, "key: (changed and should not, should change and does not)"


def test_values_that_stand_for_the_same_change_nothing(changed_by):
    assert {words: found for words in SAME if (found := changed_by(*words))} == {}


def test_the_options_of_a_loss_enter_with_their_defaults(changed_by):
    dkd = ("DISTILL.LOGIT_LOSS.NAME", "dkd")
    assert changed_by(*dkd) == EXPECTED["logits"]
    assert changed_by(*dkd, "DISTILL.LOGIT_LOSS.ALPHA", 2.0) == EXPECTED["logits"]


def test_a_teacher_per_dataset_changes_what_it_teaches(changed_by):
    assert changed_by("JOINT.SCOPE", "target") == STUDENTS
