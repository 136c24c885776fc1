"""Hints for unknown keys: the nearest known key, or the equivalent of another tool's key."""

import difflib
from collections.abc import Mapping, Sequence

from videokd.config.keys import find_key

_NETWORKS = "EXPERTS.<NAME> and STUDENTS.<NAME>"
_TORCHRUN = (
    "start it with `torchrun --nproc-per-node N tools/train_net.py`, see docs/distributed.md"
)
_RESUME = "not needed: the same command resumes from the last checkpoint in OUTPUT_DIR"
_WEIGHTS = f"here WEIGHTS of {_NETWORKS}, see docs/weights.md"

# Keys of PySlowFast, detectron2 and MMAction2 whose names differ from the videokd keys.
_FOREIGN = {
    "AUTO_RESUME": _RESUME,
    "RESUME": _RESUME,
    "TRAIN.AUTO_RESUME": _RESUME,
    "NUM_GPUS": _TORCHRUN,
    "NUM_SHARDS": _TORCHRUN,
    "SHARD_ID": _TORCHRUN,
    "MODEL.WEIGHTS": _WEIGHTS,
    "TRAIN.CHECKPOINT_FILE_PATH": _WEIGHTS,
    "TRAIN.CHECKPOINT_TYPE": _WEIGHTS,
    "TEST.CHECKPOINT_FILE_PATH": "here `videokd test --checkpoint FILE`",
    "LOAD_FROM": _WEIGHTS,
    "MODEL.NUM_CLASSES": "not needed: it is read from the class list of each dataset",
    "MODEL.DROPOUT_RATE": f"here DROPOUT of {_NETWORKS}",
    "TRAIN.DATASET": "here DATASETS.<NAME>.FORMAT, see docs/datasets.md",
    "TEST.DATASET": "here DATASETS.<NAME>.FORMAT, see docs/datasets.md",
    "TRAIN.ENABLE": "here `--stage`, see `videokd train --help`",
    "TEST.ENABLE": "here `--stage`, see `videokd train --help`",
    "TRAIN.MIXED_PRECISION": f"here PRECISION of {_NETWORKS}",
    "TRAIN.CHECKPOINT_PERIOD": "here TRAIN.CHECKPOINT_PERIOD_SEC, in seconds and not in epochs",
    "DATA.PATH_TO_DATA_DIR": "here DATASETS.<NAME>.ANNOTATIONS, the folder of the lists",
    "DATA.PATH_PREFIX": "here DATASETS.<NAME>.ROOT, the folder of the videos",
    "DATA.TRAIN_CROP_SIZE": "here DATA.CROP_SIZE, in training and test",
    "DATA.TEST_CROP_SIZE": "here DATA.CROP_SIZE, in training and test",
    "DATA.MEAN": f"here MEAN of {_NETWORKS}, for RGB in [0, 1]",
    "DATA.STD": f"here STD of {_NETWORKS}, for RGB in [0, 1]",
    "SOLVER.OPTIMIZING_METHOD": "here SOLVER.OPTIMIZER",
    "SOLVER.IMS_PER_BATCH": "here TRAIN.BATCH_SIZE",
    "SOLVER.MAX_ITER": "here SOLVER.MAX_EPOCH",
    "SOLVER.MOMENTUM": "it is 0.9 with SOLVER.OPTIMIZER sgd",
    "TENSORBOARD.ENABLE": "here TRAIN.LOGGERS tensorboard",
    "RNG_SEED": "here SEED",
    "WORK_DIR": "here OUTPUT_DIR",
}


def explain_unknown_key(
    key: str, known: Sequence[str], sections: Mapping[str, Sequence[str]]
) -> str:
    """Return a hint for an unknown key, to append to the error message.

    Args:
        key: Unknown dotted key.
        known: All known dotted keys.
        sections: Section with user-chosen names, such as DATASETS -> its names.
    """
    foreign = _FOREIGN.get(key.upper())
    if foreign:
        return f"; {foreign}"
    node, dot, leaf = key.rpartition(".")
    for spelling in (key.upper(), f"{node}{dot}{leaf.upper()}"):
        found = find_key(spelling)
        if spelling in known or (found and found.is_option):
            return f"; did you mean {spelling}?"
    if f"{key}.NAME" in known:
        return f"; it holds keys of its own: set {key}.NAME"
    section, _, rest = key.partition(".")
    if section == "MODEL":
        return f"; networks are set in {_NETWORKS}"
    name = rest.partition(".")[0]
    if section in sections and name and name not in sections[section]:
        names = ", ".join(sections[section]) or "none"
        return f"; {section} has no {name}: declare it in the config file, which has {names}"
    # A known leaf under a wrong node is a better hint than a similar spelling.
    same_leaf = [one for one in known if one.rsplit(".", 1)[-1] == leaf]
    cutoff = 0.0 if same_leaf else 0.6
    close = difflib.get_close_matches(key, same_leaf or known, n=1, cutoff=cutoff)
    return f"; did you mean {close[0]}?" if close else "; --print-config shows all keys"
