"""The one table of config keys; defaults, checks, docs/config.md and fingerprints come from it.

Key names follow SlowFast and detectron2 where these have the key.
"""

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import replace

from fvcore.common.config import CfgNode

from videokd.config.schema import Key, set_value

LEVELS = ("stage1", "stage2", "stage3", "stage4", "embedding")
# Sections whose nodes are named by the user and have the keys of <NAME>.
NAMED_SECTIONS = ("DATASETS", "EXPERTS", "STUDENTS", "VARIANTS")

# fmt: off
_ROWS = [
    # name, default, allowed, affects, help
    Key("OUTPUT_DIR", "runs/mlfd", "", "nothing", "folder of the run"),
    Key("SEED", 0, "0 .. 2147483647", "all",
        "seed of initial weights, data order, augmentation and dropout"),
    Key("DEVICE", "auto", "", "nothing", "auto (a GPU if there is one), cpu, cuda or cuda:N"),
    Key("BASELINES", ["B1", "B2", "B4"], "B1 | B2 | B3 | B4 | B5 | B7", "nothing",
        "baselines to train; the joint teacher B6 is always trained"),

    Key("SYNTHETIC.ROOT", "", "", "all",
        "folder of the synthetic datasets, generated on first use; empty = none", derived=True),
    Key("SYNTHETIC.PROFILE", "demo", "tiny | demo | full", "all",
        "size of the synthetic datasets", needs="SYNTHETIC.ROOT", derived=True),
    Key("SYNTHETIC.SEED", 0, "0 .. 2147483647", "all",
        "seed of all scenes and performances", needs="SYNTHETIC.ROOT", derived=True),

    Key("DATASETS.<NAME>.FORMAT", "folder", "ucf101 | hmdb51 | kinetics | ssv2 | list | folder",
        "dataset", "format of the lists, see docs/datasets.md", derived=True),
    Key("DATASETS.<NAME>.ROOT", "", "", "dataset", "folder of the videos", derived=True),
    Key("DATASETS.<NAME>.ANNOTATIONS", "", "", "dataset",
        "folder of the annotation lists, or one CSV; empty for FORMAT folder", derived=True),
    Key("DATASETS.<NAME>.SPLIT", 1, "1 | 2 | 3", "dataset",
        "split, for formats that have several: ucf101, hmdb51, list", derived=True),
    Key("DATASETS.<NAME>.SEPARATOR", "auto", "", "dataset",
        "between path and label in lists; auto = the last comma or blank", derived=True),
    Key("DATASETS.<NAME>.GROUP_PATTERN", "", "", "dataset",
        r"regular expression that finds the group of a video in its path, such as (person\d+)_; "
        "empty = the file name up to its last underscore", derived=True),
    Key("DATASETS.<NAME>.FLIP", "auto", "auto | keep | swap | off", "dataset",
        "class of a mirrored clip: keep, swap within LEFT_RIGHT_PAIRS, auto (swap where there are "
        "pairs, else keep); off = never mirror", needs="DATA.RANDOM_FLIP", derived=True),
    Key("DATASETS.<NAME>.LEFT_RIGHT_PAIRS", [], "", "dataset",
        "[class, class], ... that mirroring swaps; [] = the format's own (only ssv2 has pairs)",
        needs="DATA.RANDOM_FLIP", derived=True),
    Key("DATASETS.<NAME>.LOSS_WEIGHT", 1.0, ">0 ..", "several",
        "weight w_i of the dataset in the joint teacher's loss", derived=True),

    # STUDENTS has the same keys as EXPERTS.
    Key("EXPERTS.<NAME>.ARCH", "r2plus1d_18", "", "network",
        "architecture, see `videokd models`; timm:NAME averages an image network over frames, "
        "timm-tsm:NAME adds a temporal shift"),
    Key("EXPERTS.<NAME>.WIDTH_FACTOR", 1.0, ">0 .. 16", "network", "factor on the channels"),
    Key("EXPERTS.<NAME>.DEPTH_FACTOR", 1.0, ">0 .. 16", "network",
        "factor on the blocks per stage, rounded up"),
    Key("EXPERTS.<NAME>.DROPOUT", 0.0, "0 .. 0.99", "network", "dropout before the classifier"),
    Key("EXPERTS.<NAME>.WEIGHTS", "random", "", "network",
        "initial weights: random, torchvision:NAME, pytorchvideo:NAME, hf:NAME, timm:NAME or a "
        "path, see docs/weights.md", derived=True),
    Key("EXPERTS.<NAME>.WEIGHTS_RENAME", [], "", "network",
        "[regular expression, replacement], ... for the tensor names of WEIGHTS", derived=True),
    Key("EXPERTS.<NAME>.WEIGHTS_STRICT", True, "", "network",
        "stop unless all tensors but the classifier's fit", derived=True),
    Key("EXPERTS.<NAME>.TRAIN", True, "", "network",
        "False = use an expert's WEIGHTS as they are; always True for students", derived=True),
    Key("EXPERTS.<NAME>.NUM_FRAMES", 0, "-1 .. 1024", "network",
        "frames per clip; 0 = DATA.NUM_FRAMES, -1 = as ARCH was published",
        inherits="DATA.NUM_FRAMES", derived=True),
    Key("EXPERTS.<NAME>.SAMPLING_RATE", 0, "-1 .. 1024", "network",
        "source frames from one clip frame to the next; 0 = DATA.SAMPLING_RATE, -1 = as ARCH was "
        "published", inherits="DATA.SAMPLING_RATE", derived=True),
    Key("EXPERTS.<NAME>.CROP_SIZE", 0, "-1 .. 4096", "network",
        "px, at most DATA.CROP_SIZE, whose crops are resized to it; 0 = DATA.CROP_SIZE, -1 = as "
        "ARCH was published", inherits="DATA.CROP_SIZE", derived=True),
    Key("EXPERTS.<NAME>.MEAN", [], "", "network",
        "mean of R, G, B in [0, 1]; [] = as ARCH was published"),
    Key("EXPERTS.<NAME>.STD", [], "", "network",
        "standard deviation of R, G, B; [] = as ARCH was published"),
    Key("EXPERTS.<NAME>.COLOR_ORDER", "arch", "arch | rgb | bgr", "network",
        "colour order of the input; arch = as ARCH was published"),
    Key("EXPERTS.<NAME>.PRECISION", "float32", "float32 | bf16 | fp16", "network",
        "type of activations (autocast)"),
    Key("EXPERTS.<NAME>.MEMORY_FORMAT", "contiguous", "contiguous | channels_last_3d", "network",
        "memory layout; the fastest depends on machine and ARCH, see docs/benchmarks"),
    Key("EXPERTS.<NAME>.CHECKPOINT_ACTIVATIONS", False, "", "nothing",
        "recompute activations in the backward pass: less memory, about a third slower"),
    Key("EXPERTS.<NAME>.COMPILE", False, "", "network",
        "torch.compile: a minute at the start, then possibly faster steps, see docs/benchmarks"),
    Key("EXPERTS.<NAME>.BASE_LR", 0.0, "0 .. 1000", "network",
        "peak learning rate; 0 = SOLVER.BASE_LR", inherits="SOLVER.BASE_LR", derived=True),
    Key("EXPERTS.<NAME>.MAX_EPOCH", 0, "0 ..", "network",
        "epochs, for a student in all its trainings; 0 = SOLVER.MAX_EPOCH",
        inherits="SOLVER.MAX_EPOCH", derived=True),

    Key("DATA.NUM_FRAMES", 8, "1 .. 1024", "all", "frames per clip"),
    Key("DATA.SAMPLING_RATE", 4, "1 .. 1024", "all",
        "source frames from one clip frame to the next"),
    Key("DATA.SAMPLER", "dense", "dense | segments | non_local", "all",
        "dense = frames SAMPLING_RATE apart from a random start; segments = one frame of each of "
        "NUM_FRAMES equal parts of the video (TSN); non_local = NUM_FRAMES frames spread over "
        "NUM_FRAMES * SAMPLING_RATE"),
    Key("DATA.TARGET_FPS", 0.0, "0 .. 1000", "all",
        "count frames as if every video had this frame rate; 0 = off"),
    Key("DATA.SHORT_VIDEO", "clamp", "clamp | loop", "all",
        "end of a video that is too short: clamp = repeat its last frame, loop = start again"),
    Key("DATA.SHORT_SIDE", 128, "8 .. 4096", "all", "px, short side of decoded frames"),
    Key("DATA.CROP_SIZE", 112, "8 .. 4096", "all",
        "px, square crop in training and test; the largest where networks differ"),
    Key("DATA.CROP_SHAPE", "square", "square | frame", "all",
        "square, or frame: crops of the shape of the frame, squeezed into squares, so that nothing "
        "at the sides is lost"),
    Key("DATA.TRAIN_SCALE_RANGE", [0.5, 1.0], "", "all",
        "[low, high] of the area of a training crop over that of the frame"),
    Key("DATA.TRAIN_RATIO_RANGE", [0.75, 1.3333], "", "all",
        "[low, high] of the width of a training crop over its height; with CROP_SHAPE frame, over "
        "that of the frame"),
    Key("DATA.TRAIN_JITTER_SCALES", [], "", "all",
        "px, [low, high]: scale the short side to a random size, then cut a square of CROP_SIZE "
        "(as PySlowFast does), instead of both ranges; [] = off"),
    Key("DATA.AUGMENT_ON", "worker", "worker | device", "nothing",
        "where training clips are cropped and augmented; device frees CPU cores on a GPU run"),
    Key("DATA.RANDOM_FLIP", True, "", "all",
        "mirror half of the training clips; DATASETS.<NAME>.FLIP handles left and right"),
    Key("DATA.COLOR_JITTER", 0.2, "0 .. 1", "all",
        "brightness and contrast factors in 1 +- this; 0 = off"),
    Key("DATA.DECODER", "auto", "auto | pyav | decord | torchcodec", "all",
        "video library; auto = pyav; the others read some files only (docs/decoders.md)"),
    Key("DATA.MIX", "proportional", "proportional | balanced | temperature", "all",
        "shares of the datasets in joint batches: proportional to their videos, balanced = equal, "
        "temperature ~ videos^(1/MIX_TEMPERATURE)"),
    Key("DATA.MIX_TEMPERATURE", 1.0, "1 ..", "all", "1 keeps proportional shares, larger values "
        "make them more equal", needs="DATA.MIX temperature"),
    Key("DATA.REPEATED_AUG", 1, "1 ..", "all",
        "clips per video in a batch, from one decode; clips per epoch stay the same"),
    Key("DATA.VAL_FRACTION", 0.15, "0 .. 0.5", "all", "share of the train split held out by "
        "whole groups for validation, where there is no val split", derived=True),
    Key("DATA.MAX_BAD_FRACTION", 0.01, "0 .. 1", "nothing",
        "share of missing or unreadable videos that stops a run"),
    Key("DATA.INDEX_DIR", "", "", "nothing",
        "folder of the indexes that `videokd prepare index` writes; empty = none"),
    Key("DATA.VIEWS_PER_VIDEO", 0, "0 ..", "all",
        "fixed clips (start and augmentation) per video, used in turn; 0 = always new clips"),
    Key("DATA.FRAME_CACHE", "", "", "nothing",
        "folder for decoded frames of small datasets; empty = no cache"),
    Key("DATA.FRAME_CACHE_MAX_GIB", 2.0, ">0 ..", "nothing",
        "GiB, the largest frame cache that is written"),
    Key("DATA_LOADER.NUM_WORKERS", -1, "-1 .. 1024", "nothing",
        "processes per rank that decode; -1 = a quarter of its cores, at least 1"),
    Key("DATA_LOADER.NUM_THREADS", 0, "0 .. 1024", "nothing",
        "threads per rank; 0 = all cores that the workers do not use"),
    Key("DATA_LOADER.TIMEOUT_SEC", 30.0, ">0 ..", "nothing",
        "seconds for a clip, or a test video with all its views; then the worker is replaced and "
        "the video counts as unreadable; no limit without workers"),
    Key("AUG.RAND_NUM_OPS", 0, "0 .. 100", "all", "RandAugment operations per clip; 0 = off"),
    Key("AUG.RAND_MAGNITUDE", 9.0, "0 .. 10", "all", "strength of RandAugment",
        needs="AUG.RAND_NUM_OPS"),
    Key("AUG.ERASE_PROBABILITY", 0.0, "0 .. 1", "all",
        "probability of random erasing per clip; 0 = off"),
    Key("AUG.SATURATION_JITTER", 0.0, "0 .. 1", "all",
        "saturation factor in 1 +- this; 0 = off"),
    Key("MIXUP.ALPHA", 0.0, "0 .. 1000", "all", "parameter of mixup's beta distribution, for "
        "clips of one dataset in a batch, the same for teacher and student; 0 = off"),
    Key("MIXUP.CUTMIX_ALPHA", 0.0, "0 .. 1000", "all",
        "the same for cutmix; with both on, each batch draws one; 0 = off"),

    Key("JOINT.TOPOLOGY", "pyramid", "pyramid | trunk", "joint",
        "pyramid = fuse the experts at every level, trunk = at the lowest level"),
    Key("JOINT.SCOPE", "all", "all | target", "joint",
        "all = one teacher for all datasets, target = one per dataset, trained on its clips"),
    Key("JOINT.EXPERTS", [], "", "joint", "datasets whose experts are fused; [] = all",
        derived=True),
    Key("JOINT.LEVELS", ["stage2", "stage3"], "stage1 | stage2 | stage3 | stage4", "joint",
        "fused levels; the embedding is always fused, [] = only it"),
    Key("JOINT.WIDTH", 64, "1 .. 100000", "joint", "channels of every adaptor"),
    Key("JOINT.DROPOUT", 0.9, "0 .. 0.99", "joint",
        "dropout before the classifiers (the published heads mostly use 0.9)"),
    Key("JOINT.STANDARDISE", "batch_norm", "none | batch_norm | running | phi_s", "joint",
        "standardisation of the experts' features"),
    Key("JOINT.EXPERT_DROP", 0.0, "0 .. 0.99", "joint",
        "share of training clips for which an expert is left out"),
    Key("JOINT.FINE_TUNE", "none", "none | last_stage | all", "joint",
        "trained part of the teacher's copies of the experts"),
    Key("JOINT.FINE_TUNE_LR_SCALE", 0.1, ">0 .. 1000", "joint",
        "learning rate of that part relative to the fused layers"),
    Key("JOINT.SHAPES_FROM", "first", "", "joint",
        "dataset whose student defines the shapes of the fused levels; first = of DATASETS",
        derived=True),
    Key("JOINT.BASE_LR", 0.0, "0 .. 1000", "joint", "peak learning rate; 0 = SOLVER.BASE_LR",
        inherits="SOLVER.BASE_LR", derived=True),
    Key("JOINT.MAX_EPOCH", 0, "0 ..", "joint", "epochs; 0 = SOLVER.MAX_EPOCH",
        inherits="SOLVER.MAX_EPOCH", derived=True),

    Key("DISTILL.W_KD", 0.6, "0 ..", "logits",
        "weight of the logit loss; published: W_KD 0.6, W_FEAT 0.2, W_CE 0.2"),
    Key("DISTILL.W_FEAT", 0.2, "0 ..", "features", "weight of the feature losses"),
    Key("DISTILL.W_CE", 0.2, "0 ..", "logits", "weight of the cross-entropy with the labels"),
    Key("DISTILL.TEMPERATURE", 2.0, ">0 .. 1000", "logits",
        "temperature of the logit loss (published: 2)"),
    Key("DISTILL.LOGIT_LOSS.NAME", "kd", "", "logits", "kd, dkd or dist", derived=True),
    Key("DISTILL.LOGIT_LOSS.<OPTION>", 0.0, "", "logits",
        "options of that loss: ALPHA, BETA of dkd; BETA, GAMMA of dist", derived=True),
    Key("DISTILL.STANDARDISE_LOGITS", False, "", "logits",
        "shift and scale logits to mean 0 and variance 1 over classes before the logit loss"),
    Key("DISTILL.FEATURE_LOSS.NAME", "mse", "", "features",
        "mse, smooth_l1_cosine, attention, relational or similarity", derived=True),
    Key("DISTILL.FEATURE_LOSS.<OPTION>", 0.0, "", "features", "options of that loss: WEIGHT, BETA "
        "of smooth_l1_cosine; DISTANCE_WEIGHT, ANGLE_WEIGHT of relational", derived=True),
    *(row for level in LEVELS for row in (
        Key(f"DISTILL.FEATURE_LOSS_AT.{level}.NAME", "same", "", "features",
            f"feature loss at {level}; same = DISTILL.FEATURE_LOSS",
            inherits="DISTILL.FEATURE_LOSS.NAME", derived=True),
        Key(f"DISTILL.FEATURE_LOSS_AT.{level}.<OPTION>", 0.0, "", "features",
            "options of the loss of that level", derived=True))),
    Key("DISTILL.STANDARDISE", "none", "none | running | phi_s", "features",
        "standardisation of the teacher's features before the loss"),
    *(Key(f"DISTILL.LEVEL_WEIGHTS.{level}", 1.0, "0 ..", "features",
          f"weight of the feature loss at {level}; 0 = none") for level in LEVELS),
    *(Key(f"DISTILL.LEVEL_SCHEDULES.{level}", "constant", "constant | rising | falling",
          "features", "factor on that weight over the training: rising and falling are half "
          "cosines") for level in LEVELS),
    Key("DISTILL.PROJECTOR", "auto", "auto | always", "features",
        "projection of student features; auto = only where shapes differ"),
    Key("DISTILL.TEACHING", "consistent", "consistent | fixed", "logits",
        "input of the teacher: consistent = the student's augmented clip, fixed = the same frames "
        "without augmentation (as published)"),
    Key("DISTILL.CLIPS", "own", "own | all", "logits",
        "training clips of a student: own = of its dataset, all = of all datasets, with labels "
        "only for its own (DUNE)"),
    Key("DISTILL.TEACHER_DROP", 0.0, "0 .. 0.99", "logits",
        "share of clips left out of the teacher's losses, which are means over the others"),
    Key("DISTILL.CACHE_GIB", 0.0, "0 ..", "nothing",
        "GiB for cached outputs of frozen networks; needs DATA.VIEWS_PER_VIDEO; 0 = off"),

    Key("SOLVER.OPTIMIZER", "adamw", "adamw | sgd", "all", "sgd has Nesterov momentum 0.9"),
    Key("SOLVER.BASE_LR", 1e-3, ">0 .. 1000", "all", "peak learning rate", derived=True),
    Key("SOLVER.BASE_BATCH_SIZE", 0, "0 ..", "all",
        "clips per step that learning rates are given for; they are scaled by TRAIN.BATCH_SIZE "
        "over it; 0 = no scaling", derived=True),
    Key("SOLVER.LR_POLICY", "cosine", "cosine | step | one_cycle | constant", "all",
        "schedule after WARMUP_EPOCHS of linear warm-up; one_cycle warms up by a cosine from 1/25 "
        "of the rate"),
    Key("SOLVER.STEPS", [], "", "all",
        "fractions of the training, as [0.5, 0.8], where LR_POLICY step divides the rate by 10"),
    Key("SOLVER.LAYER_DECAY", 1.0, ">0 .. 1", "all",
        "learning rate of each depth of a backbone relative to the depth above it; 1 = off"),
    Key("SOLVER.BETA2", 0.999, ">0 .. 0.99999", "all",
        "of AdamW; use less for trainings shorter than some thousand steps"),
    Key("SOLVER.WEIGHT_DECAY", 0.05, "0 .. 1000", "all",
        "not applied to norms, biases, tokens and position embeddings"),
    Key("SOLVER.MAX_EPOCH", 30, "1 ..", "all", "epochs", derived=True),
    Key("SOLVER.WARMUP_EPOCHS", 2.0, "0 ..", "all", "epochs of warm-up"),
    Key("SOLVER.CLIP_GRAD_NORM", 0.0, "0 ..", "all", "largest L2 norm of the gradient; 0 = off"),
    Key("SOLVER.EMA_DECAY", 0.0, "0 .. 0.99999", "all",
        "decay of the weight average that is tested and kept; 0 = off"),
    Key("SOLVER.PRECISE_BN_BATCHES", 0, "0 ..", "all",
        "training batches to recompute batch-norm statistics on with the final weights; 0 = off"),

    Key("TRAIN.BATCH_SIZE", 16, "2 ..", "all", "clips per step, over all ranks"),
    Key("TRAIN.ACCUMULATE", 1, "1 ..", "all",
        "micro-batches per step: less memory and the same step, except for operations across the "
        "clips of a batch (batch norm, mixup)"),
    Key("TRAIN.TF32", True, "", "nothing", "let GPUs round float32 factors to TF32 (10 bits)"),
    Key("TRAIN.MAX_SKIPPED_STEPS", 2, "0 ..", "nothing",
        "consecutive steps that may be skipped for a non-finite loss, gradient or norm statistic; "
        "after more, the training stops"),
    Key("TRAIN.LOG_PERIOD", 10, "1 .. 1000000000", "nothing", "steps between log lines"),
    Key("TRAIN.EVAL_PERIOD", 5, "0 ..", "nothing",
        "epochs between evaluations on the val split; 0 = never"),
    Key("TRAIN.CHECKPOINT_PERIOD_SEC", 60.0, ">0 .. 1000000000", "nothing",
        "seconds between checkpoints"),
    Key("TRAIN.NUM_CHECKPOINTS", 2, "1 ..", "nothing",
        "newest checkpoints to keep during a training, beside the best one on the val split"),
    Key("TRAIN.LOGGERS", [], "tensorboard | wandb", "nothing",
        "loggers in addition to metrics.jsonl, see docs/engine.md"),
    Key("TRAIN.PROFILE_STEPS", [], "", "nothing",
        "[first, last] step of each training to trace with torch.profiler, from 1; [] = none"),
    Key("TRAIN.SYNC_BN", False, "", "all", "synchronise batch norm across ranks"),
    Key("TRAIN.RANK_TIMEOUT_SEC", 600.0, "1 ..", "nothing",
        "seconds without progress after which a rank prints its stacks and exits"),

    Key("TEST.NUM_ENSEMBLE_VIEWS", 10, "1 .. 1000", "nothing", "clips per video along time"),
    Key("TEST.CLIP_RULE", "segment_centres", "segment_centres | end_inclusive", "nothing",
        "position of these clips: segment_centres as MMAction2 0.x, end_inclusive as MMAction2 "
        "1.x (PySlowFast is close)"),
    Key("TEST.NUM_SPATIAL_CROPS", 3, "1 | 3 | 5", "nothing",
        "crops per clip: 1 or 3 along the long side, 5 = four corners and centre"),
    Key("TEST.BATCH_SIZE", 8, "1 ..", "nothing",
        "videos per step; fewer where their views exceed 128 MiB"),
    Key("EXPORT.FORMATS", ["pth", "safetensors", "onnx"], "pth | safetensors | onnx", "nothing",
        "files that are written for each student"),

    Key("VARIANTS.<NAME>.TITLE", "", "", "nothing", "title in tables; empty = the name"),
    Key("VARIANTS.<NAME>.GROUP", "main", "", "nothing", "table in which the variant is listed"),
    Key("VARIANTS.<NAME>.ROW", "students", "", "nothing",
        "compared model: experts, joint, students or one of BASELINES"),
    Key("VARIANTS.<NAME>.OPTS", [], "", "nothing", "KEY, VALUE, ... that override the config"),
    Key("VARIANTS.<NAME>.NUM_SEEDS", 0, "0 ..", "nothing",
        "number of the study's seeds to use, from the first; 0 = all"),
]
# fmt: on


def _table() -> dict[str, Key]:
    experts = [key for key in _ROWS if key.name.startswith("EXPERTS.")]
    students = [replace(key, name=key.name.replace("EXPERTS", "STUDENTS")) for key in experts]
    end = _ROWS.index(experts[-1]) + 1
    return {key.name: key for key in [*_ROWS[:end], *students, *_ROWS[end:]]}


KEYS: Mapping[str, Key] = _table()
_OPTION = re.compile(r"[A-Z][A-Z0-9_]*")


def default_config() -> CfgNode:
    """Return a fresh, unfrozen config with all defaults and no datasets."""
    cfg = CfgNode()
    for key in KEYS.values():
        section, _, rest = key.name.partition(".<NAME>")
        if rest:
            cfg.setdefault(section, CfgNode())
        elif "<OPTION>" not in key.name:
            set_value(cfg, key.name, copy(key.default))
    return cfg


def named_node(section: str) -> CfgNode:
    """Return a node with the defaults of ``section``.<NAME>, for one of ``NAMED_SECTIONS``."""
    node, prefix = CfgNode(), f"{section}.<NAME>."
    for name, key in KEYS.items():
        if name.startswith(prefix):
            node[name.removeprefix(prefix)] = copy(key.default)
    return node


def find_key(name: str) -> Key | None:
    """Return the key of a dotted name such as EXPERTS.UCF101.ARCH; None if there is none."""
    if name in KEYS:
        return KEYS[name]
    *nodes, last = name.split(".")
    if len(nodes) == 2 and nodes[0] in NAMED_SECTIONS:
        return KEYS.get(f"{nodes[0]}.<NAME>.{last}")
    is_option = last != "NAME" and _OPTION.fullmatch(last)
    return KEYS.get(".".join([*nodes, "<OPTION>"])) if is_option else None
