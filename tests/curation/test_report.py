import csv
import json

import pytest
import yaml

from videokd.curation.findings import find_all
from videokd.curation.report import CheckResult, summarise, write_report
from videokd.data.lists.formats.read import find_dataset
from videokd.data.lists.formats.spec import DatasetSpec


@pytest.fixture
def check(make_split, fill):
    """check(train, test): the result of a full dataset with these videos beside."""

    def run(train=(), test=(), *, missing=(), **kwargs):
        splits = (
            make_split("train", [*fill("a"), *train], format="folder", missing=missing, **kwargs),
            make_split("test", [*fill("b"), *test], format="folder", **kwargs),
        )
        return CheckResult(splits, tuple(find_all(splits)))

    return run


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


SPOILT = {"problem": "corrupt", "cause": "frame 3, 4 damaged"}
SAME = {"sha256": "same"}


def test_a_dataset_in_order_is_ok(check, tmp_path):
    result = check()
    assert result.is_ok
    assert summarise(result) == "ok: every frame of 36 videos decodes"
    write_report(tmp_path, result)
    assert read_rows(tmp_path / "bad_videos.csv") == []
    assert json.loads((tmp_path / "report.json").read_text())["is_ok"]
    assert "yaml" not in (tmp_path / "report.md").read_text()


def test_notes_alone_leave_a_dataset_ok(check):
    result = check([("x.avi", 0, "g", {"width": 4, "height": 4})])
    assert [f.kind for f in result.findings] == ["odd size"]
    assert result.is_ok


@pytest.mark.parametrize(
    ("train", "test", "missing", "text"),
    [
        ([("x.avi", 0, "g", SPOILT)], [], (), "1 bad of 37 videos (1 corrupt)"),
        ([], [], ("gone.avi",), "1 bad of 37 videos (1 missing)"),
        (
            [("x.avi", 0, "g", SAME)],
            [("y.avi", 0, "h", SAME)],
            (),
            "1 bad of 38 videos (1 same content in two splits)",
        ),
    ],
)
def test_what_is_bad_is_counted_in_one_line(check, train, test, missing, text):
    result = check(train, test, missing=missing)
    assert not result.is_ok
    assert summarise(result) == f"not ok: {text}"


def test_every_bad_video_is_listed_once_with_its_cause(check, tmp_path):
    leak = [("x.avi", 0, "g", {**SAME, **SPOILT}), ("z.avi", 0, "i", SAME)]
    result = check(leak, [("y.avi", 0, "h", SAME)], missing=("a, b.avi",))
    write_report(tmp_path, result)
    assert read_rows(tmp_path / "bad_videos.csv") == [
        {
            "path": path,
            "cause": cause,
            "problem": problem,
            "dataset": "A",
            "split": "train",
        }
        for path, problem, cause in [
            ("a, b.avi", "missing", "listed, not there"),
            ("x.avi", "corrupt", "frame 3, 4 damaged"),
            ("z.avi", "leak", "same content as y.avi (A test, run)"),
        ]
    ]


def test_the_cleaned_lists_have_all_other_videos(check, tmp_path):
    train = [("x,1.avi", 0, "g", SPOILT), ("y, 2#.avi", 2, "gr oup", {})]
    write_report(tmp_path, check(train, missing=("gone.avi",)))
    rows = read_rows(tmp_path / "lists" / "A" / "train.csv")
    assert len(rows) == 19
    assert rows[-1] == {"path": "y, 2#.avi", "label": "2", "group": "gr oup"}
    assert rows[7] == {"path": "a/1_1.avi", "label": "1", "group": "a1"}
    assert len(read_rows(tmp_path / "lists" / "A" / "test.csv")) == 18
    assert (tmp_path / "lists" / "A" / "classes.txt").read_text() == "run\nsit\nwave\n"


def test_the_cleaned_lists_are_read_as_the_dataset_without_its_bad_videos(check, tmp_path):
    result = check([("x,1.avi", 0, "g", SPOILT), ("y, 2.avi", 2, "gr oup", {})])
    write_report(tmp_path, result)
    for record in (record for split in result.splits for record in split.index.records):
        (tmp_path / record.path).parent.mkdir(exist_ok=True)
        (tmp_path / record.path).touch()
    for split in result.splits:
        lists = tmp_path / "lists" / "A"
        spec = DatasetSpec("list", root=tmp_path, annotations=lists)
        index = find_dataset(spec, name="A")[split.name]
        assert list(index.records) == result.cleaned(split)
        assert index.class_names == split.index.class_names


def test_lists_of_an_earlier_check_are_gone(check, tmp_path):
    old = tmp_path / "lists" / "A" / "val.csv"
    old.parent.mkdir(parents=True)
    old.touch()
    write_report(tmp_path, check([]))
    assert sorted(path.name for path in old.parent.glob("*.csv")) == ["test.csv", "train.csv"]


@pytest.mark.parametrize(
    ("mirror_labels", "more"),
    [
        ((), {}),
        (None, {"FLIP": "off"}),
        ((1, 0, 2), {"LEFT_RIGHT_PAIRS": [["run", "sit"]]}),
    ],
)
def test_the_report_says_how_to_use_the_lists(check, tmp_path, mirror_labels, more):
    write_report(tmp_path, check([("x.avi", 0, "g", SPOILT)], mirror_labels=mirror_labels))
    block = (tmp_path / "report.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    node = {"FORMAT": "list", "ROOT": "/videos", "ANNOTATIONS": str(tmp_path / "lists" / "A")}
    assert yaml.safe_load(block) == {"DATASETS": {"A": {**node, **more}}}


def test_the_report_begins_with_what_matters(check, tmp_path):
    bad = [(f"x{n}.avi", 0, f"g{n}", SPOILT) for n in range(12)]
    small = [("small.avi", 1, "s", {"width": 8, "height": 8})]
    write_report(tmp_path, check(bad + small))
    text = (tmp_path / "report.md").read_text()
    head, _, rest = text.partition("\n## ")
    assert head.splitlines()[2] == "**not ok: 12 bad of 49 videos (12 corrupt)**"
    rows = [line.strip("| ").split(" | ") for line in head.splitlines() if line[:1] == "|"]
    assert rows[0] == ["videos", "A train", "A test"]
    assert ["listed", "31", "18"] in rows
    assert ["corrupt", "12", "0"] in rows
    assert ["note: of another size than most", "1", "0"] in rows
    assert rows[-1] == ["**in the cleaned list**", "19", "18"]
    assert rest.startswith("Corrupt (12)\n\n- `x0.avi` (A train): frame 3, 4 damaged\n")
    assert "- ... 2 more in report.json\n" in rest
    assert "| frames: least, median, most | 50, 50, 50 | 50, 50, 50 |" in rest


def test_a_part_without_a_usable_video_can_be_reported(make_split, fill, tmp_path):
    splits = (
        make_split("train", fill("a", **SPOILT), format="folder"),
        make_split("test", fill("b"), format="folder"),
    )
    write_report(tmp_path, CheckResult(splits, tuple(find_all(splits))))
    assert "Classes that cannot be learnt" in (tmp_path / "report.md").read_text()


def test_names_that_are_no_utf_8_come_out_as_they_went_in(check, tmp_path):
    write_report(tmp_path, check([("\udcff.avi", 0, "g", SPOILT), ("\udcfe.avi", 0, "h", {})]))
    assert b"\xff.avi" in (tmp_path / "bad_videos.csv").read_bytes()
    assert b"\xfe.avi" in (tmp_path / "lists" / "A" / "train.csv").read_bytes()
    assert b"\xff.avi" in (tmp_path / "report.md").read_bytes()
