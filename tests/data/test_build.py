"""From the config to what data is made by."""

import pytest

from videokd.config.defaults import dataset_template, default_config, model_template
from videokd.data.augment import AugmentSpec, RandAugment, RandomErasing
from videokd.data.build import (
    build_augment,
    build_clip_spec,
    build_datasets,
    index_folder,
    read_lists,
)
from videokd.data.cutting import ClipSpec
from videokd.data.index_store import save_index
from videokd.utils.errors import InputError


@pytest.fixture
def cfg():
    return default_config()


def test_by_default_clips_and_augmentation_are_those_that_there_always_were(cfg):
    assert build_clip_spec(cfg) == ClipSpec(8, 4, 112, 128)
    crops = {"scale_range": (0.5, 1.0), "ratio_range": (0.75, 1.3333)}
    assert build_augment(cfg) == AugmentSpec(**crops, flip=True, color_jitter=0.2)


def test_every_key_of_the_clips_reaches_them(cfg):
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE = 16, 2
    cfg.DATA.SHORT_SIDE, cfg.DATA.CROP_SIZE = 256, 224
    cfg.DATA.SAMPLER, cfg.DATA.TARGET_FPS, cfg.DATA.SHORT_VIDEO = "segments", 12.5, "loop"
    whole = {"short_side": 256, "sampler": "segments", "target_fps": 12.5, "short_video": "loop"}
    assert build_clip_spec(cfg) == ClipSpec(16, 2, 224, **whole)
    node = model_template()
    assert build_clip_spec(cfg, node) == build_clip_spec(cfg)
    node.NUM_FRAMES, node.SAMPLING_RATE, node.CROP_SIZE = 4, 8, 112
    assert build_clip_spec(cfg, node) == ClipSpec(4, 8, 112, box_size=224, **whole)


def test_every_key_of_the_augmentation_reaches_it(cfg):
    cfg.DATA.TRAIN_SCALE_RANGE, cfg.DATA.TRAIN_RATIO_RANGE = [0.2, 0.9], [0.5, 2.0]
    cfg.DATA.RANDOM_FLIP, cfg.DATA.COLOR_JITTER, cfg.AUG.SATURATION_JITTER = False, 0.1, 0.3
    cfg.DATA.TRAIN_JITTER_SCALES = [128, 160]
    cfg.AUG.RAND_NUM_OPS, cfg.AUG.RAND_MAGNITUDE, cfg.AUG.ERASE_PROBABILITY = 3, 5.0, 0.4
    assert build_augment(cfg) == AugmentSpec(
        (0.2, 0.9),
        (0.5, 2.0),
        flip=False,
        color_jitter=0.1,
        saturation_jitter=0.3,
        jitter_scales=(128, 160),
        jitter_crop_size=112,
        rand_augment=RandAugment(num_ops=3, magnitude=5.0),
        erasing=RandomErasing(0.4),
    )


def test_training_and_test_of_other_classes_are_refused(cfg, tmp_path):
    for part, classes in (("train", "ab"), ("test", "ba")):
        for name in classes:
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / f"{part}.mp4").write_bytes(part.encode())
    cfg.DATASETS.A = dataset_template()
    cfg.DATASETS.A.FORMAT, cfg.DATASETS.A.ROOT = "folder", str(tmp_path)
    cfg.DATA.INDEX_DIR = str(tmp_path / "index")
    for part in ("train", "test"):
        save_index(index_folder(cfg, "A", part), read_lists(cfg, "A", part))
        # A class that the first index does not know.
        (tmp_path / "train" / "c").mkdir(exist_ok=True)
        (tmp_path / "train" / "c" / "c.mp4").write_bytes(b"c")
    with pytest.raises(InputError, match=r"A: the classes of training and test differ \(2 and 3,"):
        build_datasets(cfg)
