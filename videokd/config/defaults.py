"""Every config key with its type, unit and default.

Named sub-nodes (DATASETS.UCF101, EXPERTS.UCF101, STUDENTS.UCF101) are copies of a typed template;
their names are the user's. Key names follow SlowFast and detectron2 where those have one.
"""

from fvcore.common.config import CfgNode

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
    cfg.BASELINES = ["B1", "B2", "B4"]  # alone | trained jointly | logits of the own expert
    cfg.SYNTHETIC = CfgNode()
    cfg.SYNTHETIC.ROOT = ""  # where the embedded datasets are generated on first use; "" = none
    cfg.SYNTHETIC.PROFILE = "demo"  # tiny | demo | full
    cfg.DATA = _data()
    cfg.DATA_LOADER = CfgNode()
    cfg.DATA_LOADER.NUM_WORKERS = -1  # processes; -1 = a quarter of the cores
    cfg.DATA_LOADER.NUM_THREADS = 0  # trainer threads; 0 = the cores that the workers leave
    cfg.DATA_LOADER.TIMEOUT_SEC = 120.0  # a worker silent for longer ends the run
    cfg.JOINT = _joint()
    cfg.DISTILL = CfgNode()
    cfg.DISTILL.W_KD = 0.6  # published weights (METHOD: 0.6 / 0.2 / 0.2, temperature 2)
    cfg.DISTILL.W_FEAT = 0.2
    cfg.DISTILL.W_CE = 0.2
    cfg.DISTILL.TEMPERATURE = 2.0
    cfg.DISTILL.PROJECTOR = "auto"  # auto = only where shapes differ | always
    cfg.SOLVER = _solver()
    cfg.TRAIN = CfgNode()
    cfg.TRAIN.BATCH_SIZE = 16  # clips per step
    cfg.TRAIN.LOG_PERIOD = 10  # steps
    cfg.TRAIN.EVAL_PERIOD = 5  # epochs between evaluations on the validation part; 0 = never
    cfg.TRAIN.CHECKPOINT_PERIOD = 60.0  # seconds between checkpoints
    cfg.TEST = CfgNode()
    cfg.TEST.NUM_ENSEMBLE_VIEWS = 10  # clips along time
    cfg.TEST.NUM_SPATIAL_CROPS = 3  # 1 | 3 crops along the long side
    cfg.TEST.BATCH_SIZE = 8  # videos per step
    cfg.EXPORT = CfgNode()
    cfg.EXPORT.FORMATS = ["pth", "safetensors", "onnx"]
    return cfg


def _data() -> CfgNode:
    node = CfgNode()
    node.NUM_FRAMES = 8  # frames of a clip
    node.SAMPLING_RATE = 4  # source frames from one clip frame to the next
    node.SHORT_SIDE = 128  # px of the decoded frame's short side
    node.CROP_SIZE = 112  # px, square, in training and test
    node.TRAIN_SCALE_RANGE = [0.5, 1.0]  # crop area over frame area
    node.TRAIN_RATIO_RANGE = [0.75, 1.3333]  # crop width over height
    node.RANDOM_FLIP = True  # off where left and right are classes
    node.COLOR_JITTER = 0.2  # brightness and contrast factors in 1 +- this; 0 = off
    node.DECODER = "auto"  # auto | pyav | decord
    node.MIX = "proportional"  # proportional | balanced: datasets within joint batches
    node.VAL_FRACTION = 0.15  # of the training records, whole groups, held out to choose on
    node.MAX_BAD_FRACTION = 0.01  # videos that may be missing or unreadable before the run stops
    node.FRAME_CACHE = ""  # folder for decoded frames of small datasets; "" = decode each epoch
    node.FRAME_CACHE_MAX_GIB = 2.0
    return node


def _joint() -> CfgNode:
    node = CfgNode()
    node.LEVELS = ["stage2", "stage3"]  # fused maps; the embedding is always fused
    node.WIDTH = 64  # channels of every adaptor
    node.DROPOUT = 0.9  # before the classifiers (the published heads mostly use 0.9)
    node.SHAPES_FROM = ""  # dataset whose student gives the levels' shapes; "" = the first
    node.BASE_LR = 0.0  # 0 = SOLVER.BASE_LR
    node.MAX_EPOCH = 0  # 0 = SOLVER.MAX_EPOCH
    return node


def _solver() -> CfgNode:
    node = CfgNode()
    node.OPTIMIZER = "adamw"  # adamw | sgd (Nesterov momentum 0.9)
    node.BASE_LR = 1e-3
    node.BETA2 = 0.999  # of AdamW: lower where a training has less than thousands of steps
    node.WEIGHT_DECAY = 0.05  # not on 1-d parameters
    node.MAX_EPOCH = 30
    node.WARMUP_EPOCHS = 2.0
    node.CLIP_GRAD_NORM = 0.0  # L2; 0 = off
    return node


def dataset_template() -> CfgNode:
    """Return the typed template of DATASETS.<NAME>."""
    node = CfgNode()
    node.FORMAT = "folder"  # ucf101 | hmdb51 | kinetics | folder
    node.ROOT = ""  # folder of the videos
    node.ANNOTATIONS = ""  # folder of the official lists; "" for the folder format
    node.SPLIT = 1  # 1 | 2 | 3, for formats that have several
    node.LOSS_WEIGHT = 1.0  # w_i of the joint teacher's loss
    return node


def model_template() -> CfgNode:
    """Return the typed template of EXPERTS.<NAME> and STUDENTS.<NAME>."""
    node = CfgNode()
    node.ARCH = "r2plus1d_18"
    node.WIDTH_FACTOR = 1.0  # channels over the architecture's own
    node.DEPTH_FACTOR = 1.0  # blocks per stage over the architecture's own, rounded up
    node.DROPOUT = 0.0  # before the classifier
    node.MEAN = [0.43216, 0.394666, 0.37645]  # RGB in [0, 1]
    node.STD = [0.22803, 0.22145, 0.216989]
    node.PRECISION = "float32"  # float32 | bf16 (autocast)
    node.MEMORY_FORMAT = "contiguous"  # contiguous | channels_last_3d
    node.BASE_LR = 0.0  # 0 = SOLVER.BASE_LR
    node.MAX_EPOCH = 0  # 0 = SOLVER.MAX_EPOCH; of an expert, or of a student in all its trainings
    return node


TEMPLATES = {
    "DATASETS": dataset_template,
    "EXPERTS": model_template,
    "STUDENTS": model_template,
}
