"""Every config key with its type, unit and default.

Named sub-nodes (DATASETS.UCF101, EXPERTS.UCF101, STUDENTS.UCF101) are copies of a typed template;
the user chooses their names. Key names follow SlowFast and detectron2 where these have the key.
"""

from fvcore.common.config import CfgNode

# Last parts of the keys that hold paths. ``~`` and environment variables are expanded in paths.
PATH_KEYS = ("OUTPUT_DIR", "ROOT", "ANNOTATIONS", "INDEX_DIR", "FRAME_CACHE", "WEIGHTS")
LEVEL_NAMES = ("stage1", "stage2", "stage3", "stage4")

# None is not used. Where 0 or "" has a special meaning, the comment of the key states it.


def default_config() -> CfgNode:
    """Return a fresh, unfrozen config with all defaults and no datasets."""
    cfg = CfgNode()
    cfg.OUTPUT_DIR = "runs/mlfd"
    cfg.SEED = 0
    cfg.DEVICE = "auto"  # auto | cpu | cuda | cuda:N
    cfg.DATASETS = CfgNode()  # NAME -> dataset_template()
    cfg.EXPERTS = CfgNode()  # NAME -> model_template(), one per dataset
    cfg.STUDENTS = CfgNode()  # NAME -> model_template(), one per dataset
    cfg.BASELINES = ["B1", "B2", "B4"]  # subset of B1 B2 B3 B4 B5 B7, see pipeline/baselines.py
    cfg.SYNTHETIC = CfgNode()
    cfg.SYNTHETIC.ROOT = ""  # folder of the synthetic datasets, made on first use; "" = none
    cfg.SYNTHETIC.PROFILE = "demo"  # tiny | demo | full
    cfg.SYNTHETIC.SEED = 0  # seed of all scenes and performances
    cfg.DATA = _data()
    cfg.AUG = CfgNode()  # training augmentation in addition to DATA's crop, flip and jitter
    cfg.AUG.RAND_NUM_OPS = 0  # RandAugment operations per clip; 0 = off
    cfg.AUG.RAND_MAGNITUDE = 9.0  # RandAugment strength, 0 .. 10
    cfg.AUG.ERASE_PROBABILITY = 0.0  # probability of random erasing per clip; 0 = off
    cfg.AUG.SATURATION_JITTER = 0.0  # saturation factor in 1 +- this; 0 = off
    cfg.DATA_LOADER = CfgNode()
    cfg.DATA_LOADER.NUM_WORKERS = -1  # processes per trainer; -1 = a quarter of its cores, >= 1
    cfg.DATA_LOADER.NUM_THREADS = 0  # trainer threads; 0 = all cores that the workers do not use
    # Limit for one clip, or for one test video with all its views. After it, the worker is
    # replaced and the video counts as unreadable. There is no limit without workers.
    cfg.DATA_LOADER.TIMEOUT_SEC = 30.0
    cfg.JOINT = _joint()
    cfg.DISTILL = _distill()
    cfg.SOLVER = _solver()
    cfg.MIXUP = CfgNode()  # mixes clips of one dataset in a batch, alike for teacher and student
    cfg.MIXUP.ALPHA = 0.0  # parameter of mixup's beta distribution; 0 = off
    cfg.MIXUP.CUTMIX_ALPHA = 0.0  # the same for cutmix; 0 = off; with both on, each batch draws one
    cfg.TRAIN = CfgNode()
    cfg.TRAIN.BATCH_SIZE = 16  # clips per step, over all processes
    # Gradient accumulation: micro-batches per step. Saves memory; the step stays the same except
    # for operations across the clips of a batch (batch norm, mixup)
    cfg.TRAIN.ACCUMULATE = 1
    cfg.TRAIN.TF32 = True  # allow GPUs to round float32 factors to TF32 (10 bits)
    # Consecutive steps that may be skipped for a non-finite loss, gradient or norm statistic. After
    # more, training goes back to its last checkpoint once, then stops. 0 = stop at the first one
    cfg.TRAIN.MAX_SKIPPED_STEPS = 2
    cfg.TRAIN.LOG_PERIOD = 10  # steps
    cfg.TRAIN.EVAL_PERIOD = 5  # epochs between evaluations on the val split; 0 = never
    cfg.TRAIN.CHECKPOINT_PERIOD_SEC = 60.0  # between checkpoints
    # Newest checkpoints to keep during a training, in addition to the best one on the val split
    cfg.TRAIN.NUM_CHECKPOINTS = 2
    cfg.TRAIN.LOGGERS = []  # tensorboard | wandb, in addition to metrics.jsonl; see docs/engine.md
    # [first, last]: steps of each training to trace with torch.profiler, counted from 1; [] = none
    cfg.TRAIN.PROFILE_STEPS = []
    # Synchronise batch norm across processes
    cfg.TRAIN.SYNC_BN = False
    # Shard trained weights, their gradients and optimizer moments across processes; see
    # docs/distributed.md
    cfg.TRAIN.SHARD_WEIGHTS = False
    # Seconds without progress after which a process prints its stacks and exits
    cfg.TRAIN.RANK_TIMEOUT_SEC = 600.0
    cfg.TEST = CfgNode()
    cfg.TEST.NUM_ENSEMBLE_VIEWS = 10  # clips per video along time
    # segment_centres (as MMAction2 0.x) | end_inclusive (as MMAction2 1.x; PySlowFast is close)
    cfg.TEST.CLIP_RULE = "segment_centres"
    cfg.TEST.NUM_SPATIAL_CROPS = 3  # 1 | 3 crops along the long side | 5 = four corners and centre
    cfg.TEST.BATCH_SIZE = 8  # videos per step; fewer where their views exceed 128 MiB
    cfg.EXPORT = CfgNode()
    cfg.EXPORT.FORMATS = ["pth", "safetensors", "onnx"]
    cfg.VARIANTS = CfgNode()  # NAME -> variant_template(), compared by tools/run_study.py
    return cfg


def _data() -> CfgNode:
    node = CfgNode()
    node.NUM_FRAMES = 8  # frames per clip
    node.SAMPLING_RATE = 4  # source frames from one clip frame to the next
    # dense: frames SAMPLING_RATE apart, random start | segments: one frame of each of NUM_FRAMES
    # equal parts of the video (TSN) | non_local: spread over NUM_FRAMES * SAMPLING_RATE frames
    node.SAMPLER = "dense"
    node.TARGET_FPS = 0.0  # > 0: count frames as if every video had this frame rate; 0 = off
    node.SHORT_VIDEO = "clamp"  # clamp (repeat the last frame) | loop (start again)
    node.SHORT_SIDE = 128  # px, short side of decoded frames
    node.CROP_SIZE = 112  # px, square, training and test; the largest crop where networks differ
    node.TRAIN_SCALE_RANGE = [0.5, 1.0]  # crop area over frame area
    node.TRAIN_RATIO_RANGE = [0.75, 1.3333]  # crop width over height
    # px, [low, high]; replaces both ranges by a square crop of CROP_SIZE after scaling the short
    # side to a random size from low to high (as PySlowFast does); [] = off
    node.TRAIN_JITTER_SCALES = []
    # Where training clips are cropped and augmented: worker | device (frees CPU cores on a GPU run)
    node.AUGMENT_ON = "worker"
    # Mirror half of the training clips. Classes that tell left from right are handled per dataset
    # by DATASETS.<NAME>.FLIP
    node.RANDOM_FLIP = True
    node.COLOR_JITTER = 0.2  # brightness and contrast factors in 1 +- this; 0 = off
    node.DECODER = "auto"  # auto | pyav | decord | torchcodec
    # Shares of the datasets in joint batches: proportional (to their videos) | balanced (equal)
    # | temperature (~ videos^(1/MIX_TEMPERATURE)) | round_robin (each batch from one dataset)
    node.MIX = "proportional"
    node.MIX_TEMPERATURE = 1.0  # >= 1; 1 = proportional, larger values make shares more equal
    # Clips per video in a batch, from one decode; the number of clips per epoch stays the same
    node.REPEATED_AUG = 1
    # Share of the train split held out for validation, by whole groups; only for datasets without
    # a val split
    node.VAL_FRACTION = 0.15
    node.MAX_BAD_FRACTION = 0.01  # share of missing or unreadable videos that stops a run
    # Folder of the dataset indexes that `tools/prepare_data.py index` writes; "" = none
    node.INDEX_DIR = ""
    # V > 0: each video has V fixed clips (start and augmentation), used in turn; 0 = new clips
    node.VIEWS_PER_VIDEO = 0
    node.FRAME_CACHE = ""  # folder for decoded frames of small datasets; "" = no cache
    node.FRAME_CACHE_MAX_GIB = 2.0
    return node


def _joint() -> CfgNode:
    node = CfgNode()
    node.TOPOLOGY = "pyramid"  # pyramid: fuse experts at every level | trunk: at the lowest level
    node.SCOPE = "all"  # all: one teacher for all datasets | target: one per dataset, on its clips
    node.EXPERTS = []  # datasets whose experts are fused; [] = all
    node.LEVELS = ["stage2", "stage3"]  # fused levels; the embedding is always fused, [] = only it
    node.WIDTH = 64  # channels of every adaptor
    node.DROPOUT = 0.9  # before the classifiers (the published heads mostly use 0.9)
    node.STANDARDISE = "batch_norm"  # of expert features: none | batch_norm | running | phi_s
    node.EXPERT_DROP = 0.0  # share of training clips for which an expert is left out
    node.FINE_TUNE = "none"  # trained part of the experts' copies: none | last_stage | all
    node.FINE_TUNE_LR_SCALE = 0.1  # their learning rate relative to the fused layers
    node.SHAPES_FROM = (
        "first"  # dataset whose student defines the level shapes; first = of DATASETS
    )
    node.BASE_LR = 0.0  # 0 = SOLVER.BASE_LR
    node.MAX_EPOCH = 0  # 0 = SOLVER.MAX_EPOCH
    return node


def _distill() -> CfgNode:
    node = CfgNode()
    node.W_KD = 0.6  # published weights (METHOD: 0.6 / 0.2 / 0.2, temperature 2)
    node.W_FEAT = 0.2
    node.W_CE = 0.2
    node.TEMPERATURE = 2.0
    node.LOGIT_LOSS = "kd"  # kd | dkd | dist
    node.STANDARDISE_LOGITS = False  # zero mean and unit variance over classes, before LOGIT_LOSS
    node.DKD_ALPHA = 1.0  # weight of the target-class term
    node.DKD_BETA = 8.0  # weight of the non-target-class term
    node.DIST_BETA = 1.0  # weight of the inter-class term
    node.DIST_GAMMA = 1.0  # weight of the intra-class term
    # mse | smooth_l1_cosine | attention | relational | similarity
    node.FEATURE_LOSS = "mse"
    node.STANDARDISE = "none"  # of teacher features before the loss: none | running | phi_s
    node.LEVEL_WEIGHTS = CfgNode()
    # Factor on the weight over the training: constant | rising | falling (half cosines)
    node.LEVEL_SCHEDULES = CfgNode()
    for level in (*LEVEL_NAMES, "embedding"):
        node.LEVEL_WEIGHTS[level] = 1.0  # 0 = no loss at this level
        node.LEVEL_SCHEDULES[level] = "constant"
    node.PROJECTOR = "auto"  # auto (only where shapes differ) | always
    # Input of the teacher: consistent (the student's augmented clip) | fixed (the same frames
    # without augmentation, as published)
    node.TEACHING = "consistent"
    # Training clips of a student: own (its dataset) | all (all datasets, with labels used only for
    # its own; DUNE)
    node.CLIPS = "own"
    # Share of clips left out of the teacher's losses, which are averaged over the remaining clips.
    node.TEACHER_DROP = 0.0
    # GiB of memory for cached outputs of frozen networks; needs DATA.VIEWS_PER_VIDEO. 0 = off
    node.CACHE_GIB = 0.0
    return node


def _solver() -> CfgNode:
    node = CfgNode()
    node.OPTIMIZER = "adamw"  # adamw | sgd (Nesterov momentum 0.9)
    node.BASE_LR = 1e-3
    # B > 0: learning rates are given for B clips per step and scaled by TRAIN.BATCH_SIZE / B;
    # 0 = off
    node.BASE_BATCH_SIZE = 0
    # Schedule after WARMUP_EPOCHS of linear warm-up: cosine | step | constant | one_cycle (whose
    # warm-up is a cosine from 1/25 of the rate)
    node.LR_POLICY = "cosine"
    # For LR_POLICY step: fractions of the training, such as [0.5, 0.8], at which the rate is
    # divided by 10
    node.STEPS = []
    # Learning rate of each depth of a backbone relative to the depth above it; 1 = off
    node.LAYER_DECAY = 1.0
    node.BETA2 = 0.999  # of AdamW; use less for trainings shorter than some thousand steps
    node.WEIGHT_DECAY = 0.05  # not for norms, biases, tokens and position embeddings of ViTs
    node.MAX_EPOCH = 30
    node.WARMUP_EPOCHS = 2.0
    node.CLIP_GRAD_NORM = 0.0  # L2; 0 = off
    node.EMA_DECAY = 0.0  # decay of the weight average that is tested and kept; 0 = off
    # Training batches to recompute batch-norm statistics on with the final weights; 0 = off
    node.PRECISE_BN_BATCHES = 0
    return node


def dataset_template() -> CfgNode:
    """Return the typed template of DATASETS.<NAME>."""
    node = CfgNode()
    node.FORMAT = "folder"  # ucf101 | hmdb51 | kinetics | ssv2 | list | folder: docs/datasets.md
    node.ROOT = ""  # folder of the videos
    node.ANNOTATIONS = ""  # folder of the annotation lists, or one CSV; "" for the folder format
    node.SPLIT = 1  # 1 | 2 | 3, for formats with several splits: ucf101, hmdb51, list
    node.SEPARATOR = "auto"  # between path and label in lists; auto = the last comma or blank
    # Regular expression that finds the group of a video in its path, for list and folder, such as
    # `(person\d+)_`; "" = the file name up to its last underscore
    node.GROUP_PATTERN = ""
    # Class of a mirrored clip: keep | swap (within LEFT_RIGHT_PAIRS) | off (never mirror) | auto
    # (swap where there are pairs, else keep)
    node.FLIP = "auto"
    node.LEFT_RIGHT_PAIRS = []  # [class, class], ...; [] = the format's own (only ssv2 has pairs)
    node.LOSS_WEIGHT = 1.0  # w_i in the joint teacher's loss
    return node


def model_template() -> CfgNode:
    """Return the typed template of EXPERTS.<NAME> and STUDENTS.<NAME>."""
    node = CfgNode()
    # Architecture name. timm:NAME is any timm image network averaged over frames, timm-tsm:NAME the
    # same with a temporal shift
    node.ARCH = "r2plus1d_18"
    node.WIDTH_FACTOR = 1.0  # factor on the architecture's channels
    node.DEPTH_FACTOR = 1.0  # factor on the architecture's blocks per stage, rounded up
    node.DROPOUT = 0.0  # before the classifier
    # Initial weights: torchvision:NAME | pytorchvideo:NAME | hf:NAME | timm:NAME | a path, see
    # docs/weights.md; random = none
    node.WEIGHTS = "random"
    node.WEIGHTS_RENAME = []  # [regular expression, replacement], ... for their tensor names
    node.WEIGHTS_STRICT = True  # stop unless all tensors except the classifier's fit
    node.TRAIN = True  # False: use an expert's WEIGHTS as they are; True for students
    # Input of the network. -1, [] and "arch" take the input that the published weights of ARCH were
    # trained on; use them with pretrained WEIGHTS.
    node.NUM_FRAMES = 0  # frames per clip; 0 = DATA.NUM_FRAMES, -1 = of ARCH
    # Source frames from one clip frame to the next; 0 = DATA.SAMPLING_RATE, -1 = of ARCH
    node.SAMPLING_RATE = 0
    # px; crops of DATA.CROP_SIZE are resized to this size, which must not be larger;
    # 0 = DATA.CROP_SIZE, -1 = of ARCH
    node.CROP_SIZE = 0
    node.MEAN = []  # RGB in [0, 1]; [] = of ARCH
    node.STD = []  # RGB; [] = of ARCH
    node.COLOR_ORDER = "arch"  # of the input: rgb | bgr | arch (that of ARCH)
    node.PRECISION = "float32"  # float32 | bf16 | fp16 (autocast)
    node.MEMORY_FORMAT = "contiguous"  # contiguous | channels_last_3d
    # Recompute activations in the backward pass: less memory, about a third slower
    node.CHECKPOINT_ACTIVATIONS = False
    # torch.compile: takes a minute at the start, then steps may be faster (see docs/benchmarks).
    # The average of EMA_DECAY is not compiled.
    node.COMPILE = False
    node.BASE_LR = 0.0  # 0 = SOLVER.BASE_LR
    node.MAX_EPOCH = 0  # 0 = SOLVER.MAX_EPOCH; for a student, in all its trainings
    return node


def variant_template() -> CfgNode:
    """Return the typed template of VARIANTS.<NAME>."""
    node = CfgNode()
    node.TITLE = ""  # title in tables; "" = the name
    node.GROUP = "main"  # table in which the variant is listed
    node.ROW = "students"  # compared model: experts | joint | students | one of BASELINES
    node.OPTS = []  # KEY, VALUE, ... that override the config
    node.NUM_SEEDS = 0  # number of the study's seeds to use, from the first; 0 = all
    return node


TEMPLATES = {
    "DATASETS": dataset_template,
    "EXPERTS": model_template,
    "STUDENTS": model_template,
    "VARIANTS": variant_template,
}
