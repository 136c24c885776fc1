from functools import partial
from multiprocessing import active_children
from types import SimpleNamespace

import pytest
import torch

from videokd.data.batch import BadVideo, collate
from videokd.data.batch_plan import BatchPlan, PlanSampler
from videokd.data.clip_spec import ClipSet, ClipSpec
from videokd.data.dataset import AugmentSpec, ClipDataset
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.data.loader import LoadingOptions, iterate_batches
from videokd.data.pool.supervised_pool import Lost
from videokd.data.test_views import ViewDataset, collate_views

HANG = "__import__('time').sleep(1000)"
ABORT = "__import__('os').abort()"


def load(dataset, batches, *, num_workers, collate=list, losses=None, **options):
    return iterate_batches(
        dataset,
        batches,
        collate=collate,
        options=LoadingOptions(num_workers, deadline_sec=2.0, **options),
        losses=[{}] if losses is None else losses,
    )


@pytest.fixture
def expressions(misbehaving):
    return misbehaving.Expressions()


@pytest.fixture(autouse=True)
def no_worker_is_left():
    yield
    assert active_children() == []


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_batches_come_in_order(expressions, num_workers):
    batches = [["__import__('time').sleep(0.1)", "1"], ["2", "3"], ["4"]]
    assert list(load(expressions, batches, num_workers=num_workers)) == [[None, 1], [2, 3], [4]]


def test_closing_ends_the_workers_whatever_they_do(expressions):
    batches = load(expressions, [["1"], [HANG], [HANG], ["2"]], num_workers=2)
    assert next(batches) == [1]
    assert len(active_children()) == 2
    batches.close()
    assert active_children() == []


def test_a_clip_that_hangs_or_kills_is_a_bad_video_and_the_rest_goes_on(expressions):
    losses = [{}]
    batches = [["1", HANG, "2"], ["3"], [ABORT], ["4"]]
    hung, died = "hung for more than 2 s", "its process died of SIGABRT"
    assert list(load(expressions, batches, num_workers=1, losses=losses)) == [
        *([1, BadVideo(0, 0, HANG, hung), 2], [3]),
        *([BadVideo(0, 0, ABORT, died)], [4]),
    ]
    assert losses == [{HANG: [hung], ABORT: [died]}]


def test_a_video_that_two_workers_were_lost_on_is_not_tried_again(expressions, tmp_path):
    tried = tmp_path / "tried"
    deadly = f"open({str(tried)!r}, 'a').write('x') and {ABORT}"
    batches = [[deadly], *([[str(i)] for i in range(4)])] * 3
    lost = BadVideo(0, 0, deadly, "its process died of SIGABRT")
    losses = [{}]
    found = list(load(expressions, batches, num_workers=1, losses=losses))
    assert found == [[lost], [0], [1], [2], [3]] * 3
    assert tried.read_text() == "xx"
    assert losses == [{deadly: [lost.cause] * 2}]


def test_a_video_that_one_worker_was_lost_on_is_used_when_it_comes_again(expressions, tmp_path):
    note = f"__import__('pathlib').Path({str(tmp_path / 'note')!r})"
    stalls_once = f"{note}.exists() or ({note}.touch(), {HANG})"
    batches = [[stalls_once], *([[str(i)] for i in range(4)]), [stalls_once]]
    losses = [{}]
    first, *_, last = load(expressions, batches, num_workers=1, losses=losses)
    assert first == [BadVideo(0, 0, stalls_once, "hung for more than 2 s")]
    assert last == [True]
    assert losses == [{stalls_once: ["hung for more than 2 s"]}]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_videos_that_are_known_to_be_bad_are_passed_on_as_they_are(expressions, num_workers):
    losses = [{ABORT: ["before", "as before"]}]
    batches = load(expressions, [["1", ABORT]], num_workers=num_workers, losses=losses)
    assert list(batches) == [[1, BadVideo(0, 0, ABORT, "as before")]]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_of_the_dataset_stays_what_it_is(expressions, num_workers):
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        list(load(expressions, [["1 / 0"]], num_workers=num_workers))


def test_batches_are_put_into_page_locked_memory_when_asked_to(expressions):
    def collate(samples):
        return SimpleNamespace(pin_memory=lambda: ("pinned", *samples))

    batches = load(expressions, [["1", "2"]], num_workers=0, collate=collate, pin_memory=True)
    assert list(batches) == [("pinned", 1, 2)]


@pytest.fixture
def index(make_video, tmp_path):
    names = [f"{letter}.avi" for letter in "abcde"]
    for name in names:
        make_video(name, 20)
    (tmp_path / "broken.avi").write_bytes(b"not a video")
    records = [VideoRecord(name, 0, "toy", name) for name in [*names, "broken.avi"]]
    return VideoIndex(tuple(records), ("a",), tmp_path, "toy", "train")


CLIP = ClipSpec(num_frames=4, sampling_rate=3, crop_size=32, short_side=40)
AUGMENT = AugmentSpec(flip=True, color_jitter=0.3)


def load_clips(make_dataset, index, num_workers):
    dataset = make_dataset([index], clip=ClipSet(CLIP, plain=(CLIP,)), augment=AUGMENT, seed=0)
    plan = BatchPlan([len(index)], batch_size=2, seed=0)
    sampler = PlanSampler(plan, 1, 5)
    return list(load(dataset, sampler, num_workers=num_workers, collate=collate))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_clips_do_not_depend_on_the_number_of_workers(index, num_workers):
    here, there = (load_clips(ClipDataset, index, n) for n in (0, num_workers))
    assert len(here) == 5
    for one, other in zip(here, there, strict=True):
        assert one.clips.keys() == one.plain_clips.keys() == {CLIP.name}
        assert torch.equal(one.main, other.main)
        assert torch.equal(one.plain_clips[CLIP.name], other.plain_clips[CLIP.name])
        assert torch.equal(one.record_ids, other.record_ids)
        assert (one.augmentations, one.view_keys) == (other.augmentations, other.view_keys)
        assert one.bad == other.bad


def test_a_lost_clip_changes_no_other(index, misbehaving):
    deadly = partial(misbehaving.DeadlyClips, deaths={"b.avi": ABORT})
    whole, damaged = load_clips(ClipDataset, index, 0), load_clips(deadly, index, 1)
    lost = BadVideo(0, 1, "b.avi", "its process died of SIGABRT")
    num_lost = 0
    for one, other in zip(whole, damaged, strict=True):
        keeps = one.record_ids != 1
        num_lost += int((~keeps).sum())
        assert other.bad.count(lost) == (~keeps).sum()
        assert torch.equal(one.main[keeps], other.main)
        kept = [a for a, keep in zip(one.augmentations, keeps, strict=True) if keep]
        assert kept == list(other.augmentations)
    assert num_lost == 2


def test_test_views_do_not_depend_on_the_workers(index):
    dataset = ViewDataset(index, dataset_id=0, clip=CLIP, num_clips=2, num_crops=3)
    batches = [range(0, 4), range(4, 6)]
    here, there = (
        list(load(dataset, batches, num_workers=n, collate=collate_views)) for n in (0, 1)
    )
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.clips[CLIP.name], other.clips[CLIP.name])
        assert torch.equal(one.counts, other.counts)
        assert torch.equal(one.record_ids, other.record_ids)
        assert one.bad == other.bad
    assert [video.path for video in there[1].bad] == ["broken.avi"]


def test_what_is_lost_is_named_by_the_dataset(index):
    views = ViewDataset(index, dataset_id=3, clip=CLIP)
    assert views.lost(2, "hung") == BadVideo(3, 2, "c.avi", "hung")
    assert Lost("hung", 2) == Lost("hung", 5)
