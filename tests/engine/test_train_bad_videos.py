from dataclasses import replace

import pytest
import torch
from tiny_training import SETTINGS, TinyTask, is_equal, last_checkpoint, stop_at

from videokd.data.batch import BadVideo
from videokd.engine.metrics_log import read_metrics
from videokd.engine.stop import Stopped
from videokd.utils.errors import RunError


def _bad(*names):
    return tuple(BadVideo(0, i, name, "cut off") for i, name in enumerate(names))


def _loader(make_batch, bad_per_step, num_clips=4):
    def loader(step):
        for i in range(step, len(bad_per_step)):
            yield make_batch(
                (0,) * num_clips, num_frames=2, crop_size=4, seed=i, bad=_bad(*bad_per_step[i])
            )

    return loader


def test_bad_videos_within_the_budget_are_counted_once_and_named(run, make_batch, tmp_path, caplog):
    loader = _loader(make_batch, [["a"], ["a", "b"], [], ["b"], [], []])
    run("bad", settings=replace(SETTINGS, max_bad_videos=2), loader=loader)
    lines = read_metrics(tmp_path / "bad" / "metrics.jsonl")
    assert [line["bad_videos"] for line in lines if "loss" in line] == [2, 2, 2]
    assert caplog.text.count("skipped an unreadable video") == 2
    assert "skipped an unreadable video: b: cut off" in caplog.text


def test_files_of_one_name_in_two_datasets_are_two_bad_videos(run, make_batch, tmp_path):
    bad = [BadVideo(0, 3, "a", "cut off"), BadVideo(1, 5, "a", "cut off")]

    def loader(step):
        while True:
            yield make_batch(num_frames=2, crop_size=4, bad=bad)

    run("bad", settings=replace(SETTINGS, max_bad_videos=2), loader=loader)
    assert read_metrics(tmp_path / "bad" / "metrics.jsonl")[0]["bad_videos"] == 2


def test_bad_videos_past_the_budget_end_the_run_with_their_names(run, make_batch):
    loader = _loader(make_batch, [["b"], ["a", "b"]])
    with pytest.raises(RunError, match="2 unreadable videos, more than the 1 allowed .*: a, b"):
        run("bad", settings=replace(SETTINGS, max_bad_videos=1), loader=loader)


def test_bad_videos_of_before_a_stop_count_after_it(run, make_batch):
    loader = _loader(make_batch, [["a"], [], ["b"], [], [], []])
    settings = replace(SETTINGS, max_bad_videos=1)
    with pytest.raises(Stopped, match="^$"):
        run("bad", settings=settings, loader=loader, progress=stop_at(1))
    with pytest.raises(RunError, match="2 unreadable videos"):
        run("bad", settings=settings, loader=loader)


@pytest.mark.parametrize("num_clips", [0, 1])
def test_a_batch_too_small_for_batch_norm_is_a_step_without_learning(
    run, make_batch, tmp_path, num_clips
):
    trained = run("small", loader=_loader(make_batch, [[]] * 6, num_clips))
    torch.manual_seed(0)
    assert is_equal(trained.state_dict(), TinyTask().state_dict())
    assert "loss" not in read_metrics(tmp_path / "small" / "metrics.jsonl")[0]


def test_a_step_without_learning_is_not_averaged(run, make_batch, tmp_path):
    run("small", loader=_loader(make_batch, [[]] * 6, 1), decay=0.9)
    assert last_checkpoint(tmp_path / "small").state["num_averaged"] == 0
