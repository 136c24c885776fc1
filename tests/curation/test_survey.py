import json
import os
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pytest

from videokd.curation import examine, survey
from videokd.curation.examine import Decode, VideoReport, probe
from videokd.curation.survey import Survey, add_reports
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.data.pool.supervised_pool import Lost
from videokd.data.pool.worker import OUT_OF_MEMORY
from videokd.utils.errors import ReadError

ODD = "odd # ; [1] & ! gr\u00fc\u00df/\u65e5\u672c ' \" .mp4"
PATHS = ["a.avi", ODD, "text.avi", "cut.mp4", "none.avi"]
EXAMINER = """
import os
import time

from videokd.curation.examine import VideoReport


def examine(path, root):
    if "hang" in path:
        time.sleep(1000)
    if "abort" in path:
        os.abort()
    return VideoReport(num_bytes=1)
"""


@pytest.fixture
def root(make_video, tmp_path):
    make_video("a.avi", 20)
    make_video(ODD, 30, codec="libx264", num_b_frames=2)
    (tmp_path / "text.avi").write_bytes(b"not a video")
    whole = make_video("cut.mp4", 30, codec="libx264").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return tmp_path


@pytest.fixture
def probed(monkeypatch):
    """The names of the files that were given to a decoder library, in order."""
    names, own = [], examine.probe_video

    def note(file):
        names.append(Path(file.name).name)
        return own(file)

    monkeypatch.setattr(examine, "probe_video", note)
    return names


@pytest.fixture
def touch(tmp_path):
    """touch(*names): files for an examiner that does not open them; returns the names."""

    def make(*names):
        for name in names:
            (tmp_path / name).write_bytes(b"not examined for real")
        return list(names)

    return make


def make_survey(root, examine=probe, *, method="probe", **options):
    return Survey(root, root / "journal" / "j.jsonl", examine, method, **options)


def run(root, paths=PATHS, **options):
    return make_survey(root, **options).run(paths)


def fine(path, root):
    return VideoReport(num_bytes=1)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_files_are_described_as_they_were_written(root, num_workers):
    seen = []
    found = make_survey(root, num_workers=num_workers, deadline_sec=60.0).run(
        PATHS, lambda path, report: seen.append((path, report))
    )
    assert (list(found), seen) == (PATHS, list(found.items()))
    sizes = [(root / path).stat().st_size for path in PATHS[:2]]
    avi, mp4 = (replace(found[path], is_counted=False) for path in PATHS[:2])
    assert avi == VideoReport(
        "", "", sizes[0], 20, 25.0, 48, 64, "avi", "mpeg4", pytest.approx(0.8)
    )
    assert mp4 == VideoReport("", "", sizes[1], 30, 25.0, 48, 64, "mov", "h264", pytest.approx(1.2))
    assert [(report.problem, report.cause) for report in found.values()][2:] == [
        ("not a video", "not a video file, starts with b'not a video'"),
        (
            "corrupt",
            "cut off or not finished: the index (moov) is missing; "
            "copy, download or record the file again",
        ),
        ("missing", "No such file or directory"),
    ]


def test_only_what_has_changed_is_opened_again(root, probed, make_video, caplog):
    caplog.set_level("INFO")
    first = run(root, [*PATHS, "a.avi"])
    # The text is refused by its first bytes.
    assert probed == ["a.avi", Path(ODD).name, "cut.mp4"]
    assert run(root) == first
    assert "3 of 5 videos have not changed since they were examined" in caplog.text
    assert len(probed) == 3
    mtime_ns = (root / "a.avi").stat().st_mtime_ns
    os.utime(root / "a.avi", ns=(0, 12345))
    run(root)
    assert probed[3:] == ["a.avi"]
    # A size alone is a change, too.
    make_video("a.avi", 33)
    os.utime(root / "a.avi", ns=(0, 12345))
    assert run(root)["a.avi"].num_frames == 33
    assert mtime_ns != 12345
    assert probed[4:] == ["a.avi"]


def test_what_cannot_be_used_is_tried_again_when_it_changes(root, probed, make_video):
    run(root)
    for name in ("cut.mp4", "none.avi", "text.avi"):
        make_video(name, 7)
    probed.clear()
    found = list(run(root).values())
    assert [(report.num_frames, report.problem) for report in found][2:] == [(7, "")] * 3
    assert probed == ["text.avi", "cut.mp4", "none.avi"]


def test_other_files_stay_in_the_journal(root, probed):
    run(root)
    run(root, ["a.avi"])
    probed.clear()
    run(root, PATHS[::-1])
    assert probed == []


def test_what_the_system_refuses_is_tried_again_although_the_file_is_the_same(root, monkeypatch):
    calls = []

    def fail(file):
        calls.append(file.name)
        raise ReadError(file.name, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(examine, "probe_video", fail)
        assert run(root, ["a.avi"]) == {"a.avi": VideoReport("missing", "Input/output error")}
    assert len(calls) == 2
    assert run(root, ["a.avi"])["a.avi"].num_frames == 20


@pytest.fixture
def examine_oddly(tmp_path, monkeypatch):
    """A function that a worker process can import, too."""
    (tmp_path / "odd_examiner.py").write_text(EXAMINER)
    monkeypatch.syspath_prepend(tmp_path)
    import odd_examiner

    return odd_examiner.examine


def test_a_file_that_hangs_or_kills_its_process_costs_itself_alone(touch, examine_oddly, tmp_path):
    names = touch("a.avi", "hang.avi", "b.avi", "abort.avi", "c.avi")
    found = run(tmp_path, names, examine=examine_oddly, num_workers=1, deadline_sec=2.0)
    assert [report.problem for report in found.values()] == ["", "hung", "", "died", ""]
    assert found["hang.avi"].cause == "hung for more than 2 s"
    assert found["abort.avi"].cause == "its process died of SIGABRT"
    assert active_children() == []
    # Both are tried again.
    again = run(tmp_path, names, examine=lambda path, root: VideoReport("short", "x", 1))
    assert [name for name in names if again[name].problem] == ["hang.avi", "abort.avi"]


@pytest.mark.parametrize(
    ("cause", "problem"),
    [
        (OUT_OF_MEMORY, "missing"),
        ("its process died of SIGKILL, as when the system runs out of memory", "missing"),
        ("its process died of SIGSEGV", "died"),
        ("hung for more than 1 s", "hung"),
    ],
)
def test_a_lack_of_memory_says_nothing_about_a_file(cause, problem):
    assert survey._report_loss(Lost(cause)) == VideoReport(problem, cause)


def test_nothing_outside_the_root_is_opened(root, probed):
    inside = root / "inside"
    inside.mkdir()
    (inside / "link.avi").symlink_to(root / "a.avi")
    found = run(inside, ["link.avi", "../a.avi", str(root / "a.avi")])
    causes = {report.cause for report in found.values()}
    assert causes == {f"leaves the folder of the dataset, {inside}"}
    assert probed == []


def test_a_relative_root_is_that_of_the_caller(root, monkeypatch):
    monkeypatch.chdir(root)
    found = run(Path(), ["a.avi"], num_workers=1, deadline_sec=60.0)
    assert found["a.avi"].num_frames == 20


def test_another_method_examines_anew(make_video, tmp_path):
    make_video("a.avi", 5)
    assert run(tmp_path, ["a.avi"])["a.avi"].sha256 == ""
    assert run(tmp_path, ["a.avi"], examine=Decode(), method="decode auto")["a.avi"].sha256


def test_a_survey_that_is_stopped_goes_on_where_it_was(touch, tmp_path):
    names = touch("a.avi", "b.avi", "c.avi")
    seen = []

    def note(path, root):
        seen.append(path)
        return fine(path, root)

    def stop_at_b(path, report):
        if path == "b.avi":
            raise KeyboardInterrupt("stopped")

    with pytest.raises(KeyboardInterrupt, match="stopped"):
        make_survey(tmp_path, note).run(names, stop_at_b)
    assert seen == ["a.avi", "b.avi"]
    assert len(run(tmp_path, names, examine=note)) == 3
    assert seen == ["a.avi", "b.avi", "c.avi"]


@pytest.mark.parametrize(
    ("change", "num_known", "num_lines", "warning"),
    [
        (lambda lines: [lines[0], lines[1][:-30]], 1, 3, ""),
        (lambda lines: ["{", lines[1].replace("sha256", "unknown"), lines[0], ""], 1, 4, "2 lines"),
        (lambda lines: ["\udcff", "[]", "", *lines, ""], 2, 5, "3 lines are damaged"),
    ],
    ids=["cut off", "another field", "no text"],
)
def test_a_damaged_journal_is_gone_on_with(
    touch, tmp_path, caplog, change, num_known, num_lines, warning
):
    names, seen = touch("a.avi", "b.avi"), []
    run(tmp_path, names, examine=fine)
    journal = tmp_path / "journal" / "j.jsonl"
    text = "\n".join(change(journal.read_text().splitlines()))
    journal.write_bytes(text.encode(errors="surrogateescape"))

    def note(path, root):
        seen.append(path)
        return fine(path, root)

    run(tmp_path, names, examine=note)
    assert len(seen) == 2 - num_known
    assert len(journal.read_text(errors="replace").splitlines()) == num_lines
    assert warning in caplog.text
    run(tmp_path, names, examine=note)
    assert len(seen) == 2 - num_known


def test_names_that_are_no_utf_8_are_kept(make_video, tmp_path, probed):
    name = os.fsdecode(b"\xff#;.avi")
    make_video("a.avi", 5).rename(tmp_path / name)
    assert run(tmp_path, [name]) == run(tmp_path, [name])
    (row,) = map(json.loads, (tmp_path / "journal" / "j.jsonl").read_text().splitlines())
    assert (row["path"], row["report"]["problem"], len(probed)) == (name, "", 1)


def test_no_files_are_a_survey_too(tmp_path):
    assert run(tmp_path, []) == {}


def test_records_get_what_was_found_in_their_files():
    names = ("a #1.avi", "b;[2]&!.mp4", "c \u00e9\udcff.avi")
    records = tuple(VideoRecord(name, 0, "toy", "") for name in names)
    index = VideoIndex(records, ("x",), Path("/v"), "toy", "split1/train")
    reports = {
        "another.avi": VideoReport(num_frames=99),
        names[2]: VideoReport("missing", "Input/output error"),
        names[1]: VideoReport("corrupt", "no frame"),
        names[0]: VideoReport(num_bytes=9, num_frames=10, fps=12.5),
    }
    found = add_reports(index, reports).records
    # Trainings try again what the system could not read.
    expected = [(10, 12.5, ""), (0, 0.0, "no frame"), (0, 0.0, "")]
    assert [(r.num_frames, r.fps, r.cause) for r in found] == expected
    assert [replace(r, num_frames=0, fps=0.0, cause="") for r in found] == list(records)
