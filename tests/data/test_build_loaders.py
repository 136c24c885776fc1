"""From the config to batches: plans, loaders and frame caches, each built directly."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from videokd.config import default_config
from videokd.data.batch_plan import BatchPlan
from videokd.data.build import (
    DatasetSplits,
    LoaderWorkers,
    build_augment,
    build_batch_plan,
    build_clip_spec,
    build_frame_caches,
    build_train_loader,
    build_view_loader,
)
from videokd.data.clip_spec import ClipSet
from videokd.data.dataset import ClipDataset
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.data.test_views import ViewPlan
from videokd.utils.errors import InputError

HERE = LoaderWorkers(0, worker_init=lambda number: None, pin_memory=False)
VIEWS = ViewPlan(num_clips=2, num_crops=3, clip_rule="segment_centres")


@pytest.fixture
def cfg():
    cfg = default_config()
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE = 2, 3
    cfg.DATA.SHORT_SIDE, cfg.DATA.CROP_SIZE = 40, 32
    cfg.TRAIN.BATCH_SIZE, cfg.TEST.BATCH_SIZE, cfg.SEED = 4, 2, 7
    return cfg


@pytest.fixture
def make_parts(make_video, tmp_path):
    """``make_parts("a", 5, num_test=3)``: a dataset of videos of 9, 10, ... frames."""

    def make_index(name, part, num_videos):
        paths = [f"{name}-{part}-{number}.avi" for number in range(num_videos)]
        for number, path in enumerate(paths):
            make_video(path, 9 + number)
        records = tuple(VideoRecord(path, n % 2, name, path) for n, path in enumerate(paths))
        return VideoIndex(records, ("run", "sit"), tmp_path, name, part)

    def make(name, num_train, *, num_test=0):
        train, test = make_index(name, "train", num_train), make_index(name, "test", num_test)
        return DatasetSplits(name=name, train=train, val=None, test=test)

    return make


def requests(plan, steps):
    return [plan.batch(step) for step in steps]


@pytest.mark.parametrize(
    ("mix", "temperature", "repeats"),
    [("proportional", 1.0, 1), ("balanced", 1.0, 1), ("temperature", 3.0, 1), ("balanced", 1.0, 2)],
)
def test_every_key_of_the_batches_reaches_their_plan(cfg, make_parts, mix, temperature, repeats):
    parts = [make_parts("a", 5), make_parts("b", 2)]
    cfg.DATA.MIX, cfg.DATA.MIX_TEMPERATURE, cfg.DATA.REPEATED_AUG = mix, temperature, repeats
    options = {"mix": mix, "temperature": temperature, "repeats": repeats}
    expected = BatchPlan([5, 2], batch_size=4, seed=7, **options)
    found = requests(build_batch_plan(cfg, parts), range(20))
    assert found == requests(expected, range(20))
    cfg.SEED = 8
    assert requests(build_batch_plan(cfg, parts), range(20)) != found


def test_a_batch_of_more_clips_than_there_are_videos_is_refused(cfg, make_parts):
    cfg.TRAIN.BATCH_SIZE = 8
    with pytest.raises(InputError, match=r"BATCH_SIZE 8 must be <= 7, the training videos of a, b"):
        build_batch_plan(cfg, [make_parts("a", 5), make_parts("b", 2)])


@pytest.fixture
def load(cfg):
    """``load(parts, first_step, ...)``: the batches of a training of 3 steps from there on."""

    def load_batches(parts, first_step=0, workers=HERE, **options):
        clips = ClipSet(build_clip_spec(cfg))
        loader = build_train_loader(
            cfg, parts, clips=clips, num_steps=3, workers=workers, **options
        )
        return list(loader(first_step))

    return load_batches


def test_batches_of_a_training_are_those_of_its_plan_and_its_dataset(cfg, make_parts, load):
    parts = [make_parts("a", 5), make_parts("b", 3)]
    batches = load(parts)
    dataset = ClipDataset(
        [p.train for p in parts],
        clip=ClipSet(build_clip_spec(cfg)),
        augment=build_augment(cfg),
        seed=7,
    )
    plan = build_batch_plan(cfg, parts)
    assert len(batches) == 3
    for step, batch in enumerate(batches):
        samples = [dataset[request] for request in plan.batch(step)]
        (name,) = batch.clips
        assert torch.equal(batch.main, torch.stack([sample.clips[name] for sample in samples]))
        assert batch.labels.tolist() == [sample.label for sample in samples]
        assert batch.dataset_ids.tolist() == [request.dataset_id for request in plan.batch(step)]


def test_a_training_goes_on_at_any_step(make_parts, load):
    parts = [make_parts("a", 6)]
    whole, rest = load(parts), load(parts, 1)
    assert len(rest) == 2
    assert all(torch.equal(x.main, y.main) for x, y in zip(whole[1:], rest, strict=True))


def test_ranks_of_a_training_share_its_batches(make_parts, load):
    parts = [make_parts("a", 6)]
    shares = [load(parts, workers=replace(HERE, rank=rank, num_ranks=2)) for rank in range(2)]
    for whole, first, second in zip(load(parts), *shares, strict=True):
        assert torch.equal(torch.cat([first.main, second.main]), whole.main)


def test_keys_of_the_clips_reach_a_training(cfg, make_parts, load):
    parts = [make_parts("a", 4)]
    cfg.DATA.NUM_FRAMES = 4
    drawn = load(parts)
    assert drawn[0].main.shape == (4, 3, 4, 32, 32)
    assert not _is_alike_in_each_epoch(drawn)
    # A video of one view looks the same in every epoch, which is a step here.
    cfg.DATA.VIEWS_PER_VIDEO = 1
    assert _is_alike_in_each_epoch(load(parts))


def _is_alike_in_each_epoch(batches):
    ordered = [batch.main[batch.record_ids.argsort()] for batch in batches]
    return all(torch.equal(clips, ordered[0]) for clips in ordered)


def test_videos_that_lost_a_worker_are_not_tried(make_parts, load):
    parts = make_parts("a", 4)
    first, *others = parts.train.records
    known = replace(parts.train, records=(replace(first, cause="it hung"), *others))
    batches = load([replace(parts, train=known)])
    assert [(bad.path, bad.cause) for b in batches for bad in b.bad] == [
        (first.path, "it hung")
    ] * 3
    assert [bad for batch in load([parts]) for bad in batch.bad] == []


@pytest.fixture
def load_views(cfg):
    """``load_views(parts)``: the batches of all views of its test part."""

    def load(parts, part="test", workers=HERE):
        clips = ClipSet(build_clip_spec(cfg))
        return list(build_view_loader(cfg, parts, part, clips=clips, views=VIEWS, workers=workers))

    return load


def test_every_video_of_a_part_is_viewed_once(make_parts, load_views):
    batches = load_views(make_parts("a", 1, num_test=5))
    assert [batch.record_ids.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert [len(clips) for batch in batches for clips in batch.clips.values()] == [2 * 6, 2 * 6, 6]
    assert batches[0].clips["2x3x32"].shape[1:] == (3, 2, 32, 32)


def _same(batch, expected):
    clips, others = batch.clips, expected.clips
    return clips.keys() == others.keys() and all(torch.equal(clips[k], others[k]) for k in clips)


def test_ranks_of_an_evaluation_take_whole_batches_in_turn(make_parts, load_views):
    parts = make_parts("a", 1, num_test=5)
    whole = load_views(parts)
    for rank in range(2):
        mine = load_views(parts, workers=replace(HERE, rank=rank, num_ranks=2))
        for batch, expected in zip(mine, whole[rank::2], strict=True):
            assert _same(batch, expected)


def test_a_part_that_a_dataset_lacks_is_refused(make_parts, load_views):
    with pytest.raises(InputError, match="a has no val split; set DATA.VAL_FRACTION above 0"):
        load_views(make_parts("a", 1), "val")


def test_frame_caches_are_built_where_the_config_names_a_folder(
    cfg, make_parts, load, load_views, tmp_path
):
    whole = make_parts("a", 6, num_test=2)
    held_out = replace(whole.train, records=whole.train.records[4:])
    rest = replace(whole.train, records=whole.train.records[:4])
    parts, seen = replace(whole, train=rest, val=held_out), []
    build = partial(
        build_frame_caches,
        cfg,
        {"a": parts},
        num_processes=1,
        on_progress=lambda *progress: seen.append(progress),
    )
    assert build() == {"a": parts}
    cfg.DATA.FRAME_CACHE = str(tmp_path / "frames")
    cached = build()["a"]
    assert {what for what, *_ in seen} == {"a train", "a test"}
    for mine, expected in zip(load([cached]), load([parts]), strict=True):
        assert _same(mine, expected)
    for part in ("val", "test"):
        views = zip(load_views(cached, part), load_views(parts, part), strict=True)
        assert all(_same(mine, expected) for mine, expected in views)
    # The videos themselves are not opened any more.
    for path in tmp_path.glob("*.avi"):
        path.write_bytes(b"")
    assert [bad for batch in load([cached]) for bad in batch.bad] == []
    assert load_views(cached, "val")[0].counts.tolist() == [6, 6]
