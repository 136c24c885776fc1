import json
import os
from multiprocessing import active_children

import pytest

from videokd.curation.doctor import Examine, Survey, VideoPath, VideoReport

EXAMINER = """
import os
import time

from videokd.curation.doctor import VideoReport


def examine(video):
    if "hang" in video.path:
        time.sleep(1000)
    if "abort" in video.path:
        os.abort()
    return VideoReport(sha256="0" * 64)
"""


@pytest.fixture
def examine_oddly(tmp_path, monkeypatch):
    """A function that a worker process can import, too."""
    (tmp_path / "odd_examiner.py").write_text(EXAMINER)
    monkeypatch.syspath_prepend(tmp_path)
    import odd_examiner

    return odd_examiner.examine


@pytest.fixture
def videos(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).write_bytes(b"not examined for real")
        return [VideoPath(str(tmp_path), name) for name in names]

    return make


def run(survey, videos):
    reports = survey.recall(videos)
    survey.run([v for v in videos if v not in reports], reports.__setitem__)
    return reports


def test_a_file_that_hangs_or_kills_its_process_costs_itself_alone(videos, examine_oddly, tmp_path):
    names = videos("a.avi", "hang.avi", "b.avi", "abort.avi", "c.avi")
    survey = Survey(examine_oddly, tmp_path / "j.jsonl", num_workers=1, deadline_sec=2.0)
    reports = run(survey, names)
    problems = [reports[video].problem for video in names]
    assert problems == ["", "hung", "", "died", ""]
    assert reports[names[1]].cause == "hung for more than 2 s"
    assert reports[names[3]].cause == "its process died of SIGABRT"
    assert active_children() == []
    # Both are tried again.
    assert set(survey.recall(names)) == {names[0], names[2], names[4]}


def test_what_is_known_is_not_examined_again(make_video, tmp_path):
    paths = [make_video(f"{name}.avi", 5) for name in "abc"]
    videos = [VideoPath(str(tmp_path), path.name) for path in paths]
    journal = tmp_path / "journal.jsonl"
    first = run(Survey(Examine(), journal), videos)
    assert Survey(Examine(), journal).recall(videos) == first
    # Another size, another time, gone, new.
    paths[0].write_bytes(paths[0].read_bytes()[:-1])
    os.utime(paths[1], ns=(0, 1))
    paths[2].unlink()
    make_video("d.avi", 5)
    videos.append(VideoPath(str(tmp_path), "d.avi"))
    assert Survey(Examine(), journal).recall(videos) == {}
    again = run(Survey(Examine(), journal), videos)
    assert [again[video].problem for video in videos] == ["", "", "missing", ""]


def test_another_decoder_examines_anew(make_video, tmp_path):
    make_video("a.avi", 5)
    videos = [VideoPath(str(tmp_path), "a.avi")]
    run(Survey(Examine(), tmp_path / "j.jsonl", method="pyav"), videos)
    assert Survey(Examine(), tmp_path / "j.jsonl", method="pyav").recall(videos)
    assert not Survey(Examine(), tmp_path / "j.jsonl", method="decord").recall(videos)


def test_a_survey_that_is_stopped_goes_on_where_it_was(videos, tmp_path):
    names = videos("a.avi", "b.avi", "c.avi")
    seen = []

    def examine(video):
        seen.append(video.path)
        return VideoReport(sha256="0" * 64)

    def stop_at_b(video, report):
        if video.path == "b.avi":
            raise KeyboardInterrupt("stopped")

    survey = Survey(examine, tmp_path / "j.jsonl")
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        survey.run(names, stop_at_b)
    assert seen == ["a.avi", "b.avi"]
    assert len(run(survey, names)) == 3
    assert seen == ["a.avi", "b.avi", "c.avi"]


def test_a_journal_that_was_cut_off_is_gone_on_with(videos, tmp_path, caplog):
    names = videos("a.avi", "b.avi")
    survey = Survey(lambda video: VideoReport(sha256="0" * 64), tmp_path / "j.jsonl")
    run(survey, names)
    text = survey.journal.read_text()
    survey.journal.write_text(text[:-30])
    assert set(survey.recall(names)) == {names[0]}
    assert caplog.text == ""
    run(survey, names)
    assert set(survey.recall(names)) == set(names)
    # One line is damaged, the others are not.
    assert len(survey.journal.read_text().splitlines()) == 3


def test_damage_to_a_journal_is_said(videos, tmp_path, caplog):
    names = videos("a.avi", "b.avi")
    survey = Survey(lambda video: VideoReport(sha256="0" * 64), tmp_path / "j.jsonl")
    run(survey, names)
    lines = survey.journal.read_text().splitlines()
    row = json.loads(lines[1])
    row["report"]["unknown"] = 1
    survey.journal.write_text("\n".join(["{", json.dumps(row), lines[0]]) + "\n")
    assert set(survey.recall(names)) == {names[0]}
    assert "2 lines are damaged" in caplog.text


def test_names_that_are_no_utf_8_are_kept(make_video, tmp_path):
    name = os.fsdecode(b"\xff#;.avi")
    make_video("a.avi", 5).rename(tmp_path / name)
    videos = [VideoPath(str(tmp_path), name)]
    assert run(Survey(Examine(), tmp_path / "j.jsonl"), videos)[videos[0]].problem == ""
    assert set(Survey(Examine(), tmp_path / "j.jsonl").recall(videos)) == set(videos)
