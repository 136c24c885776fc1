"""Every config key with its type, unit and default.

Named sub-nodes (DATASETS.UCF101, EXPERTS.UCF101, STUDENTS.UCF101) are copies of a typed template;
their names are the user's. Key names follow SlowFast and detectron2 where those have one.
"""

from fvcore.common.config import CfgNode

# Last part of the keys that hold paths: ``~`` and environment variables are expanded in them.
PATH_KEYS = ("OUTPUT_DIR", "ROOT", "ANNOTATIONS", "INDEX_DIR", "FRAME_CACHE", "WEIGHTS")
LEVEL_NAMES = ("stage1", "stage2", "stage3", "stage4")

# Where a number may be 0 or an empty string, the comment says what that means; None is not used.


def default_config() -> CfgNode:
    """Return a fresh, unfrozen config with all defaults and no datasets."""
    cfg = CfgNode()
    cfg.OUTPUT_DIR = "runs/mlfd"
    cfg.SEED = 0
    cfg.DEVICE = "auto"  # auto | cpu | cuda | cuda:N
    cfg.DATASETS = CfgNode()  # NAME -> dataset_template()
    cfg.EXPERTS = CfgNode()  # NAME -> model_template(), one per dataset
    cfg.STUDENTS = CfgNode()  # NAME -> model_template(), one per dataset
    cfg.BASELINES = ["B1", "B2", "B4"]  # some of B1 B2 B3 B4 B5 B7, see pipeline/baselines.py
    cfg.SYNTHETIC = CfgNode()
    cfg.SYNTHETIC.ROOT = ""  # where the embedded datasets are generated on first use; "" = none
    cfg.SYNTHETIC.PROFILE = "demo"  # tiny | demo | full
    cfg.SYNTHETIC.SEED = 0  # of all scenes and performances
    cfg.DATA = _data()
    cfg.AUG = CfgNode()  # of training clips, beside what DATA says of crops, flips and colours
    cfg.AUG.RAND_NUM_OPS = 0  # RandAugment's operations on a clip; 0 = off
    cfg.AUG.RAND_MAGNITUDE = 9.0  # their strength, 0 .. 10
    cfg.AUG.ERASE_PROBABILITY = 0.0  # of a box being erased from a clip; 0 = off
    cfg.AUG.SATURATION_JITTER = 0.0  # saturation factor in 1 +- this; 0 = off
    cfg.DATA_LOADER = CfgNode()
    cfg.DATA_LOADER.NUM_WORKERS = -1  # processes per trainer; -1 = a quarter of its cores, >= 1
    cfg.DATA_LOADER.NUM_THREADS = 0  # trainer threads; 0 = the cores that the workers leave
    # For one clip, or one test video with all its views; where it takes longer, the worker is
    # replaced and the video counts as unreadable. Without workers there is no such limit.
    cfg.DATA_LOADER.TIMEOUT_SEC = 30.0
    cfg.JOINT = _joint()
    cfg.DISTILL = _distill()
    cfg.SOLVER = _solver()
    cfg.MIXUP = CfgNode()  # clips of one dataset mixed within a batch; teacher and student see it
    cfg.MIXUP.ALPHA = 0.0  # of mixup's beta distribution; 0 = off
    cfg.MIXUP.CUTMIX_ALPHA = 0.0  # of cutmix's; 0 = off; with both on, each batch picks one
    cfg.TRAIN = CfgNode()
    cfg.TRAIN.BATCH_SIZE = 16  # clips per step, over all processes
    # Parts that the clips of a step go through the network in, one after the other: less memory,
    # the same step but for what clips of a batch have to do with each other (batch norm, mixing)
    cfg.TRAIN.ACCUMULATE = 1
    cfg.TRAIN.TF32 = True  # a GPU may round float32 factors to TF32 (10 bits); False = it may not
    # Steps in a row that are skipped because loss, gradient or a norm's statistics are not finite;
    # then the training goes back to its last checkpoint, once, then it stops. 0 = it stops at once
    cfg.TRAIN.MAX_SKIPPED_STEPS = 2
    cfg.TRAIN.LOG_PERIOD = 10  # steps
    cfg.TRAIN.EVAL_PERIOD = 5  # epochs between evaluations on the validation part; 0 = never
    cfg.TRAIN.CHECKPOINT_PERIOD_SEC = 60.0  # between checkpoints
    # The newest so many are kept while a model is trained, and the best by validation
    cfg.TRAIN.NUM_CHECKPOINTS = 2
    cfg.TRAIN.LOGGERS = []  # beside metrics.jsonl: tensorboard | wandb; see docs/engine.md
    # [first, last]: steps of each training that torch.profiler traces, from 1 on; [] = none
    cfg.TRAIN.PROFILE_STEPS = []
    # Batch norm over the clips of all processes, not of each on its own
    cfg.TRAIN.SYNC_BN = False
    # Of several processes, each keeps a part of the weights that are trained, of their gradients
    # and of the optimizer's moments, and not all of them: docs/distributed.md
    cfg.TRAIN.SHARD_WEIGHTS = False
    # Seconds that a process may stand still before it ends with its stacks
    cfg.TRAIN.RANK_TIMEOUT_SEC = 600.0
    cfg.TEST = CfgNode()
    cfg.TEST.NUM_ENSEMBLE_VIEWS = 10  # clips along time
    # segment_centres (as MMAction2 0.x) | end_inclusive (as MMAction2 1.x and, nearly, PySlowFast)
    cfg.TEST.CLIP_RULE = "segment_centres"
    cfg.TEST.NUM_SPATIAL_CROPS = 3  # 1 | 3 crops along the long side | 5 the corners and the centre
    cfg.TEST.BATCH_SIZE = 8  # videos per step; fewer where their views exceed 128 MiB
    cfg.EXPORT = CfgNode()
    cfg.EXPORT.FORMATS = ["pth", "safetensors", "onnx"]
    cfg.VARIANTS = CfgNode()  # NAME -> variant_template(): what tools/run_study.py compares
    return cfg


def _data() -> CfgNode:
    node = CfgNode()
    node.NUM_FRAMES = 8  # frames of a clip
    node.SAMPLING_RATE = 4  # source frames from one clip frame to the next
    # dense: SAMPLING_RATE apart, from anywhere | segments: one frame of each of NUM_FRAMES equal
    # parts of the video (TSN) | non_local: dense in a window of NUM_FRAMES * SAMPLING_RATE frames
    node.SAMPLER = "dense"
    node.TARGET_FPS = 0.0  # > 0: frames are counted as if each video had so many a second
    node.SHORT_VIDEO = "clamp"  # clamp (the last frame stays) | loop (it starts again)
    node.SHORT_SIDE = 128  # px of the decoded frame's short side
    node.CROP_SIZE = 112  # px, square, in training and test; of the box where networks differ
    node.TRAIN_SCALE_RANGE = [0.5, 1.0]  # crop area over frame area
    node.TRAIN_RATIO_RANGE = [0.75, 1.3333]  # crop width over height
    # px, [low, high]: instead of those two, a square of CROP_SIZE as if the short side had been
    # scaled to between low and high (PySlowFast's); [] = off
    node.TRAIN_JITTER_SCALES = []
    # worker | device: where training clips are cut and augmented; a GPU takes that off the cores
    node.AUGMENT_ON = "worker"
    # Mirror half of the training clips; a dataset whose classes know left and right is left alone,
    # or the labels of its mirrored clips are swapped, as its format says
    node.RANDOM_FLIP = True
    node.COLOR_JITTER = 0.2  # brightness and contrast factors in 1 +- this; 0 = off
    node.DECODER = "auto"  # auto | pyav | decord | torchcodec
    # How joint batches are drawn from several datasets: proportional (to their videos) | balanced |
    # temperature (shares ~ videos^(1/MIX_TEMPERATURE)) | round_robin (each batch from one of them)
    node.MIX = "proportional"
    node.MIX_TEMPERATURE = 1.0  # >= 1; 1 = in proportion, the higher the more balanced
    # Clips of one video in a batch, from one decode; an epoch keeps its number of clips
    node.REPEATED_AUG = 1
    # Share of train to hold out for validation, by whole groups; for datasets without a val part
    node.VAL_FRACTION = 0.15
    node.MAX_BAD_FRACTION = 0.01  # videos that may be missing or unreadable before the run stops
    # folder for what the files of the datasets are, from `tools/prepare_data.py index`; "" = none
    node.INDEX_DIR = ""
    # V > 0: each video has V fixed views, taken in turn; 0 = a new view each time
    node.VIEWS_PER_VIDEO = 0
    node.FRAME_CACHE = ""  # folder for decoded frames of small datasets; "" = decode each epoch
    node.FRAME_CACHE_MAX_GIB = 2.0
    return node


def _joint() -> CfgNode:
    node = CfgNode()
    node.TOPOLOGY = "pyramid"  # pyramid: experts fused at every level | trunk: at the lowest only
    node.SCOPE = "all"  # all: one teacher for all datasets | target: one per dataset, on its clips
    node.EXPERTS = []  # datasets whose experts are fused; [] = all
    node.LEVELS = ["stage2", "stage3"]  # fused maps; [] = the embedding only, which is always fused
    node.WIDTH = 64  # channels of every adaptor
    node.DROPOUT = 0.9  # before the classifiers (the published heads mostly use 0.9)
    node.STANDARDISE = "batch_norm"  # of the experts' features: none | batch_norm | running | phi_s
    node.EXPERT_DROP = 0.0  # share of clips for which an expert is left out while training
    node.FINE_TUNE = "none"  # what is trained of the experts' copies: none | last_stage | all
    node.FINE_TUNE_LR_SCALE = 0.1  # their learning rate over that of the fused layers
    node.SHAPES_FROM = ""  # dataset whose student gives the levels' shapes; "" = the first
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
    node.DKD_ALPHA = 1.0  # weight of the target class's part
    node.DKD_BETA = 8.0  # weight of the other classes' part
    node.DIST_BETA = 1.0  # weight of the relations between classes
    node.DIST_GAMMA = 1.0  # weight of the relations within a class
    # mse | smooth_l1_cosine | attention | relational | similarity
    node.FEATURE_LOSS = "mse"
    node.STANDARDISE = "none"  # of the teacher's features before the loss: none | running | phi_s
    node.LEVEL_WEIGHTS = CfgNode()
    # Over the training: constant | rising | falling (half cosines)
    node.LEVEL_SCHEDULES = CfgNode()
    for level in (*LEVEL_NAMES, "embedding"):
        node.LEVEL_WEIGHTS[level] = 1.0  # 0 = not taught
        node.LEVEL_SCHEDULES[level] = "constant"
    node.PROJECTOR = "auto"  # auto = only where shapes differ | always
    # The teacher sees: consistent: the student's view | fixed: its frames without augmentation, as
    # published
    node.TEACHING = "consistent"
    # own: the student's dataset | all: of all datasets; labels count for its own alone (DUNE)
    node.CLIPS = "own"
    # Share of clips left out of the teacher's losses, which are means over the other clips.
    node.TEACHER_DROP = 0.0
    # Memory for what frozen networks say of fixed views; 0 = asked anew at every step.
    node.CACHE_GIB = 0.0
    return node


def _solver() -> CfgNode:
    node = CfgNode()
    node.OPTIMIZER = "adamw"  # adamw | sgd (Nesterov momentum 0.9)
    node.BASE_LR = 1e-3
    # B > 0: learning rates are those of B clips a step, and scaled by TRAIN.BATCH_SIZE / B; 0 = off
    node.BASE_BATCH_SIZE = 0
    # Over the training, after WARMUP_EPOCHS of a linear rise: cosine | step | constant | one_cycle
    # (which rises as a cosine, from a 25th)
    node.LR_POLICY = "cosine"
    # Of step: shares of the training, such as [0.5, 0.8], at which the rate falls to a tenth
    node.STEPS = []
    # Factor on the learning rate from one depth of a backbone to the one below; 1 = off
    node.LAYER_DECAY = 1.0
    node.BETA2 = 0.999  # of AdamW: lower where a training has less than thousands of steps
    node.WEIGHT_DECAY = 0.05  # not on norms, biases, tokens, position embeddings of ViTs
    node.MAX_EPOCH = 30
    node.WARMUP_EPOCHS = 2.0
    node.CLIP_GRAD_NORM = 0.0  # L2; 0 = off
    node.EMA_DECAY = 0.0  # of the averaged weights that are tested and kept; 0 = the last weights
    # Training batches over which batch norms are measured anew with the final weights; 0 = off
    node.PRECISE_BN_BATCHES = 0
    return node


def dataset_template() -> CfgNode:
    """Return the typed template of DATASETS.<NAME>."""
    node = CfgNode()
    node.FORMAT = "folder"  # ucf101 | hmdb51 | kinetics | ssv2 | list | folder: docs/datasets.md
    node.ROOT = ""  # folder of the videos
    node.ANNOTATIONS = ""  # folder (or one CSV file) of the lists; "" for the folder format
    node.SPLIT = 1  # 1 | 2 | 3, for formats that have several: ucf101, hmdb51, list
    node.SEPARATOR = "auto"  # of path and label in lists; auto = the last comma or blank
    # Regular expression of a video's source in its path, for list and folder: `(person\d+)_`;
    # "" = the name of the file up to its last underscore
    node.GROUP_PATTERN = ""
    # Class of a mirrored video: keep | swap (within the pairs) | off (never mirrored) | auto: swap
    # where there are pairs, else keep
    node.FLIP = "auto"
    node.LEFT_RIGHT_PAIRS = []  # [name, name] of classes; [] = the format's own, which ssv2 has
    node.LOSS_WEIGHT = 1.0  # w_i of the joint teacher's loss
    return node


def model_template() -> CfgNode:
    """Return the typed template of EXPERTS.<NAME> and STUDENTS.<NAME>."""
    node = CfgNode()
    # Also any of timm's image networks: timm:NAME for the mean of frames, timm-tsm:NAME shifted
    node.ARCH = "r2plus1d_18"
    node.WIDTH_FACTOR = 1.0  # channels over the architecture's own
    node.DEPTH_FACTOR = 1.0  # blocks per stage over the architecture's own, rounded up
    node.DROPOUT = 0.0  # before the classifier
    # What it starts from: torchvision:NAME | pytorchvideo:NAME | hf:NAME | timm:NAME | a path, see
    # docs/weights.md; "" = random weights
    node.WEIGHTS = ""
    node.WEIGHTS_RENAME = []  # [regular expression, replacement] for the names in there, in turn
    node.WEIGHTS_STRICT = True  # stop where they do not fit tensor by tensor, the classifier aside
    node.TRAIN = True  # False: an expert is used as it is loaded; students are always trained
    # What it is fed with. Its own is what the published weights of ARCH were trained on; write it
    # where WEIGHTS are loaded.
    node.NUM_FRAMES = 0  # frames of its clips; 0 = DATA.NUM_FRAMES, -1 = its own
    # Source frames from one clip frame to the next; 0 = DATA.SAMPLING_RATE, -1 = its own
    node.SAMPLING_RATE = 0
    # px, to which the box of DATA.CROP_SIZE is resized, so at most that; 0 = DATA.CROP_SIZE,
    # -1 = its own
    node.CROP_SIZE = 0
    node.MEAN = []  # RGB in [0, 1]; [] = its own
    node.STD = []  # RGB; [] = its own
    node.CHANNELS = ""  # rgb | bgr, in which it takes the colours; "" = its own
    node.PRECISION = "float32"  # float32 | bf16 | fp16 (autocast)
    node.MEMORY_FORMAT = "contiguous"  # contiguous | channels_last_3d
    # Compute activations again in the backward instead of keeping them: less memory, a third slower
    node.CHECKPOINT_ACTIVATIONS = False
    # torch.compile: a minute at the start for a faster step, where docs/benchmarks says so. The
    # average of EMA_DECAY runs without.
    node.COMPILE = False
    node.BASE_LR = 0.0  # 0 = SOLVER.BASE_LR
    node.MAX_EPOCH = 0  # 0 = SOLVER.MAX_EPOCH; of an expert, or of a student in all its trainings
    return node


def variant_template() -> CfgNode:
    """Return the typed template of VARIANTS.<NAME>."""
    node = CfgNode()
    node.TITLE = ""  # in tables; "" = the name
    node.GROUP = "main"  # table that it stands in
    node.ROW = "students"  # whose results: experts | joint | students | one of BASELINES
    node.OPTS = []  # KEY, VALUE, ... over the config
    node.NUM_SEEDS = 0  # the first so many of the study's seeds; 0 = all
    return node


TEMPLATES = {
    "DATASETS": dataset_template,
    "EXPERTS": model_template,
    "STUDENTS": model_template,
    "VARIANTS": variant_template,
}
