"""From the config to what data is made by."""

import logging

import pytest

from videokd.config import default_config, named_node
from videokd.data.augment import AugmentSpec, RandAugment, RandomErasing
from videokd.data.build import build_augment, build_clip_spec, build_datasets
from videokd.data.clip_spec import ClipSpec
from videokd.data.lists.build import index_folder, read_lists
from videokd.data.lists.index_store import save_indexes
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
    node = named_node("STUDENTS")
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
    cfg.DATASETS.A = named_node("DATASETS")
    cfg.DATASETS.A.FORMAT, cfg.DATASETS.A.ROOT = "folder", str(tmp_path)
    cfg.DATA.INDEX_DIR = str(tmp_path / "index")
    first = read_lists(cfg, "A")
    # A class that the first index does not know, and a command that was killed between two parts.
    (tmp_path / "train" / "c").mkdir()
    (tmp_path / "train" / "c" / "c.mp4").write_bytes(b"c")
    save_indexes(index_folder(cfg, "A"), {**read_lists(cfg, "A"), "train": first["train"]})
    with pytest.raises(InputError, match=r"A: the classes of train and test differ \(2 and 3,"):
        build_datasets(cfg)


@pytest.fixture
def own_list(cfg, tmp_path):
    """A dataset of one list with ten videos for each of some parts."""

    def make(*parts):
        rows = [f"{part}/{part}{n}.mp4,run,{part}" for part in parts for n in range(10)]
        for row in rows:
            path = tmp_path / row.partition(",")[0]
            path.parent.mkdir(exist_ok=True)
            path.touch()
        (tmp_path / "all.csv").write_text("\n".join(["path,label,split", *rows]))
        node = cfg.DATASETS.MINE = named_node("DATASETS")
        node.FORMAT, node.ROOT, node.ANNOTATIONS = "list", str(tmp_path), f"{tmp_path}/all.csv"
        return cfg

    return make


def test_a_val_part_of_the_dataset_is_the_validation_part(own_list, caplog):
    with caplog.at_level(logging.INFO):
        parts = build_datasets(own_list("train", "val", "test"))["MINE"]
    sizes = [len(index) for index in (parts.train, parts.val, parts.test)]
    assert sizes == [10, 10, 10]
    assert all(record.path.startswith("val/") for record in parts.val.records)
    assert caplog.messages == [
        "MINE: training 10 (all.csv: train), validation 10 (all.csv: val), "
        "test 10 (all.csv: test); DATA.VAL_FRACTION 0.15 is not used"
    ]


@pytest.mark.parametrize("other", ["val", "test"])
def test_without_both_other_parts_validation_is_held_out_of_train(own_list, caplog, other):
    with caplog.at_level(logging.INFO):
        build_datasets(own_list("train", other))
    assert caplog.messages[-1] == (
        "MINE: training 8 (rest of all.csv: train), validation 2 (held out of all.csv: train), "
        f"test 10 (all.csv: {other})"
    )


def test_a_list_that_is_a_file_can_be_indexed_with_its_val_part(own_list, tmp_path):
    cfg = own_list("train", "val", "test")
    cfg.DATA.INDEX_DIR = str(tmp_path / "index")
    save_indexes(index_folder(cfg, "MINE"), read_lists(cfg, "MINE"))
    parts = build_datasets(cfg)["MINE"]
    assert [len(index) for index in (parts.train, parts.val, parts.test)] == [10, 10, 10]
