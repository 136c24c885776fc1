from pathlib import Path

import numpy as np
import pytest

from videokd.data.batch import BadVideo
from videokd.data.clip_spec import ClipSpec
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.data.test_views import ViewPlan
from videokd.evaluation.multi_view import Predictions
from videokd.evaluation.results import read_result, write_result

CLIP = ClipSpec(num_frames=8, sampling_rate=4, crop_size=112, short_side=128)
VIEWS = ViewPlan(2, 1, "segment_centres")


@pytest.fixture
def index():
    records = tuple(VideoRecord(f"v{i}.avi", i % 2, "UCF", f"g{i}") for i in range(4))
    return VideoIndex(records, ("run", "sit"), Path("videos"), "UCF", "split1/test", ("gone.avi",))


@pytest.fixture
def predictions():
    logits = np.array([[[2, 0], [1, 0]], [[0, 3], [0, 1]], [[0, 1], [0, 5]]], np.float32)
    bad = (BadVideo(0, 1, "v1.avi", "cut off"),)
    return Predictions(logits, np.array([0, 0, 1]), np.array([0, 2, 3]), bad)


def test_numbers_come_back_as_they_were_written(tmp_path, index, predictions):
    written = write_result(tmp_path, index, predictions, VIEWS, clip=CLIP, fingerprint="abc")
    assert read_result(tmp_path, "UCF") == written
    assert written["top1"] == pytest.approx(100 * 2 / 3)
    counts = {key: written[key] for key in ("num_videos", "num_used", "num_missing")}
    assert counts == {"num_videos": 4, "num_used": 3, "num_missing": 1}
    assert written["bad"] == [{"path": "v1.avi", "cause": "cut off"}]
    assert (written["num_clips"], written["num_crops"]) == (2, 1)
    assert written["fingerprint"] == "abc"
    assert Path(written["root"]).is_absolute()


def test_scores_are_kept_with_the_paths_of_their_videos(tmp_path, index, predictions):
    write_result(tmp_path, index, predictions, VIEWS, clip=CLIP, fingerprint="")
    with np.load(tmp_path / "test" / "UCF.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["logits"], predictions.logits)
        assert arrays["paths"].tolist() == ["v0.avi", "v2.avi", "v3.avi"]
        assert arrays["labels"].tolist() == [0, 0, 1]


def test_there_is_no_result_where_none_was_finished(tmp_path, index, predictions):
    assert read_result(tmp_path, "UCF") is None
    write_result(tmp_path, index, predictions, VIEWS, clip=CLIP, fingerprint="")
    path = tmp_path / "test" / "UCF.json"
    path.write_text(path.read_text()[:-30])
    assert read_result(tmp_path, "UCF") is None


def test_a_result_names_the_rule_of_its_views_and_the_shape_of_its_clips(
    tmp_path, index, predictions
):
    views = ViewPlan(2, 5, "end_inclusive")
    clip = ClipSpec(8, 4, 56, 128, box_size=112, sampler="segments", target_fps=25.0)
    written = write_result(tmp_path, index, predictions, views, clip=clip, fingerprint="")
    assert (written["num_crops"], written["clip_rule"]) == (5, "end_inclusive")
    assert written["clip"] == {
        **{"num_frames": 8, "sampling_rate": 4, "crop_size": 56, "short_side": 128},
        **{"box_size": 112, "sampler": "segments", "target_fps": 25.0, "short_video": "spread"},
        "crop_shape": "square",
    }


def test_held_out_and_test_results_are_kept_apart(tmp_path, index, predictions):
    write_result(tmp_path, index, predictions, VIEWS, clip=CLIP, fingerprint="t")
    write_result(tmp_path, index, predictions, VIEWS, clip=CLIP, fingerprint="v", split="val")
    assert read_result(tmp_path, "UCF")["fingerprint"] == "t"
    assert read_result(tmp_path, "UCF", "val")["fingerprint"] == "v"
    assert (tmp_path / "val" / "UCF.npz").is_file()
