import numpy as np
import pytest
import torch
from benchmarks import (
    data_cache,
    data_clips,
    data_rivals,
    data_videos,
    data_views,
    data_workers,
)
from benchmarks.data_cases import count_decoding, make_clip_reader, make_index

from videokd.data import dataset, decode
from videokd.utils.errors import RunError

pytestmark = pytest.mark.nightly
needs_decord = pytest.mark.skipif(not data_rivals.has_decord(), reason="decord is not installed")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Of 60 frames: key frames every 12, every 60 (none but the first), and the first alone."""
    found = data_videos.generate_videos(tmp_path_factory.mktemp("videos"), num_frames=60)
    return {video.name: video for video in found}


@pytest.fixture(scope="module")
def cache_figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    found = data_cache.benchmark_frame_cache(folder, num_rounds=1, num_videos=2)
    return {f.name: f for f in found}


def by_end(figures):
    return {f.name.rpartition("/")[2]: f for f in figures}


@pytest.mark.parametrize("name", ["avi", "avi_b_frames", "mp4"])
def test_one_open_and_one_decode_of_each_frame_serve_all_views(cache_figures, name):
    assert cache_figures[f"data/{name}/opens_per_test_video"].value == 1.0
    assert cache_figures[f"data/{name}/opens_per_clip"].value == 1.0
    assert cache_figures[f"data/{name}/opens_10x3_over_1x1"].value == 1.0
    assert 0 < cache_figures[f"data/{name}/decodes_per_frame_in_test"].value <= 1.0
    # 8 frames with a step of 3 span 22; B-frames among them are left out where none is wanted.
    lowest = 22 if name == "avi" else 8
    assert cache_figures[f"data/{name}/frames_decoded_per_clip"].value >= lowest
    assert cache_figures[f"data/{name}/cache_speedup"].value > 0


def test_counting_leaves_the_reader_as_it_was():
    before = dataset.open_video
    with count_decoding():
        assert dataset.open_video is not before
    assert dataset.open_video is before


def test_there_are_three_kinds_of_files_with_three_distances_of_key_frames(videos):
    kinds = {name.rpartition("_")[0] for name in videos}
    assert kinds == {"mp4_h264", "avi_mpeg4", "webm_vp9"}
    assert sorted(video.gop for video in videos.values()) == [12] * 3 + [60] * 3 + [250] * 3


def test_key_frames_elsewhere_are_noticed(videos):
    with pytest.raises(
        RunError, match=r"key frames at \[0, 12, 24, 36, 48\] of 60, wanted every 5"
    ):
        data_videos._check_key_frames(videos["mp4_h264_gop12"].path, 60, 5)


@pytest.mark.parametrize(
    ("wanted", "least"),
    [
        ([0], 1),
        ([11], 12),
        ([12], 1),
        # 0..5, and 12..14: what lies between needs no decoding.
        ([5, 14], 9),
        ([3, 5, 5], 6),
    ],
)
def test_the_least_is_each_frame_from_its_key_frame_on(videos, wanted, least):
    assert videos["avi_mpeg4_gop12"].least_decoded(np.array(wanted)) == least


@pytest.mark.parametrize("name", ["mp4_h264_gop12", "avi_mpeg4_gop250", "webm_vp9_gop60"])
def test_a_clip_costs_one_open_and_no_frame_twice(videos, name):
    figures = by_end(data_clips.count_clips(videos[name], num_clips=4))
    assert figures["opens_per_clip"].value == 1.0
    # Frames that no other frame needs are left out: fewer than from the key frames on.
    assert 0.0 < figures["decoded_over_least"].value <= 1.0


@pytest.mark.parametrize("name", ["mp4_h264_gop12", "avi_mpeg4_gop60", "webm_vp9_gop250"])
def test_pytorchvideo_is_given_the_very_same_clips(videos, name):
    video = videos[name]
    samples = make_clip_reader(make_index([video]), num_clips=2)()
    theirs = data_rivals.make_pytorchvideo_reader(video.path, samples)()
    for sample, clip in zip(samples, theirs, strict=True):
        (own,) = sample.clips.values()
        assert clip.shape == own.shape == (3, 8, 112, 112)
        difference = (clip - own.float()).abs().mean()
        # One frame later the picture has moved by a pixel and more.
        moved = (clip - own.float().roll(1, dims=-1)).abs().mean()
        assert difference < 0.5 * moved


@needs_decord
def test_decord_is_asked_for_the_same_frames(videos):
    import decord

    video = videos["mp4_h264_gop12"]
    (sample,) = make_clip_reader(make_index([video]), num_clips=1)()
    wanted = sample.frame_indices.tolist()
    theirs = decord.VideoReader(str(video.path), num_threads=1).get_batch(wanted).asnumpy()
    with decode.open_video(str(video.path)) as reader:
        ours = reader.get_frames(wanted)
    assert np.abs(ours.astype(int) - theirs).mean() < 2.0
    data_rivals.make_decord_reader(video.path, [sample], resized=True)()


@pytest.mark.parametrize("name", ["mp4_h264_gop12", "avi_mpeg4_gop60", "webm_vp9_gop12"])
def test_bare_pyav_reads_every_wanted_frame(videos, name):
    video = videos[name]
    samples = make_clip_reader(make_index([video]), num_clips=2)()
    assert data_rivals.make_bare_reader(video.path, samples)() == 16


def test_clips_that_pytorchvideo_leaves_out_are_noticed(videos, tmp_path):
    video = videos["avi_mpeg4_gop12"]
    samples = make_clip_reader(make_index([video]), num_clips=1)()
    (tmp_path / "a.avi").write_bytes(b"not a video")
    read = data_rivals.make_pytorchvideo_reader(tmp_path / "a.avi", samples)
    with pytest.raises(RunError, match="pytorchvideo read 0 of 1 clips"):
        read()


def test_speeds_are_those_of_the_others_over_ours(videos, monkeypatch):
    def times(works, *, device, num_rounds):
        return {name: [2.0 if name == "videokd" else 5.0] for name in works}

    monkeypatch.setattr(data_clips, "time_interleaved", times)
    figures = by_end(data_clips.time_clips(videos["mp4_h264_gop12"], num_clips=4, num_rounds=1))
    assert figures["clips_per_cpu_sec"].value == 2000.0
    ours = figures["speed_over_pytorchvideo"]
    assert (ours.value, ours.must, ours.goal, ours.better) == (2.5, 1.8, 2.5, "higher")


def test_views_from_one_decode_equal_views_decoded_one_by_one(videos):
    video = videos["mp4_h264_gop12"]
    at_once = data_views.read_at_once(video)
    assert at_once.shape == (30, 3, 8, 112, 112)
    torch.testing.assert_close(at_once, data_views.read_per_view(video), rtol=0, atol=0)
    with count_decoding() as counts:
        data_views.read_per_view(video)
    assert counts.num_opens == 30


def test_a_second_worker_and_memory_are_measured_through_the_loader(videos):
    some = list(videos.values())[:2]
    figures = by_end(data_workers.measure_workers(some, num_batches=2, num_rounds=1))
    assert figures["2_workers_over_1"].value > 0
    (growth,) = data_workers.measure_memory(some, num_clips=32)
    assert growth.name == "data/loader/worker_memory_growth_in_32_clips"
    assert -50 < growth.value < 50


@pytest.mark.parametrize(("speed", "promise"), [(15.0, None), (19.5, 1.9)])
def test_nothing_is_promised_where_two_processes_do_not_have_two_cores(
    videos, monkeypatch, speed, promise
):
    alone = {1: 10.0, 2: speed}
    monkeypatch.setattr(data_workers, "_time_loader", lambda *_: 10.0)
    monkeypatch.setattr(data_workers, "_time_processes", lambda _, num: alone[num])
    found = data_workers.measure_workers(list(videos.values()), num_batches=1, num_rounds=1)
    assert by_end(found)["2_workers_over_1"].must == promise
