import logging
from pathlib import Path

import pytest

from videokd.data.lists.formats.read import count_dataset, find_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.utils.errors import InputError

REAL = Path(__file__).resolve().parents[5] / "shared" / "annotations" / "ucf101"
CLASSES = "1 Archery\r\n2 HandstandPushups\r\n"
TRAIN = ["Archery/v_Archery_g08_c01.avi 1", "HandstandPushups/v_HandStandPushups_g09_c02.avi 2"]
TEST = ["Archery/v_Archery_g01_c01.avi", "HandstandPushups/v_HandStandPushups_g01_c01.avi"]


@pytest.fixture
def ucf(tmp_path):
    """A root and its lists; both lists can be changed before reading."""

    def make(train=TRAIN, test=TEST, classes=CLASSES):
        annotations = tmp_path / "lists"
        annotations.mkdir()
        (annotations / "classInd.txt").write_bytes(classes.encode())
        for name, rows in (("trainlist01.txt", train), ("testlist01.txt", test)):
            (annotations / name).write_bytes("".join(f"{row}\r\n" for row in rows).encode())
        for row in [*train, *test]:
            path = tmp_path / "UCF-101" / row.removesuffix(" 1").removesuffix(" 2")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return {"root": tmp_path / "UCF-101", "annotations": annotations}

    return make


def read(ucf, split="train"):
    return find_dataset(DatasetSpec("ucf101", **ucf), name="ucf101")[split]


def test_labels_are_zero_based_and_come_from_the_folder(ucf):
    index = read(ucf(), "test")
    assert [(r.path, r.label, r.group) for r in index.records] == [
        (TEST[0], 0, "g01"),
        (TEST[1], 1, "g01"),
    ]
    assert index.class_names == ("Archery", "HandstandPushups")


def test_a_test_list_with_labels_reads_like_one_without(ucf):
    labelled = [f"{row} {k + 1}" for k, row in enumerate(TEST)]
    assert [r.label for r in read(ucf(test=labelled), "test").records] == [0, 1]


def test_missing_videos_are_left_out_and_named(ucf, caplog):
    layout = ucf()
    (layout["root"] / TEST[1]).unlink()
    with caplog.at_level(logging.WARNING):
        index = read(layout, "test")
    assert len(index) == 1
    assert index.missing == (TEST[1],)
    assert f"1 of 2 listed videos are missing under {index.root}: {TEST[1]}" in caplog.text


def test_classes_and_files_may_have_blanks_in_their_names(ucf):
    train = ["Push Ups/v push ups_g08_c01.avi 1"]
    test = ["Push Ups/v push ups_g01_c01.avi"]
    layout = ucf(train, test, "1 Push Ups\r\n")
    assert [r.path for r in read(dict(layout)).records] == [train[0][:-2]]
    index = read(layout, "test")
    assert (index.records[0].path, index.records[0].group) == (test[0], "g01")
    assert index.class_names == ("Push Ups",)


def test_lists_are_read_with_crlf_lf_and_a_byte_order_mark(ucf):
    layout = ucf()
    path = layout["annotations"] / "trainlist01.txt"
    for text in (path.read_bytes(), path.read_bytes().replace(b"\r", b"")):
        path.write_bytes(b"\xef\xbb\xbf" + text)
        assert [r.label for r in read(dict(layout)).records] == [0, 1]


def test_a_renamed_file_is_found_with_a_warning(ucf, caplog):
    layout = ucf()
    file = layout["root"] / TEST[1]
    file.rename(file.with_name("v_HandstandPushups_g01_c01.avi"))
    with caplog.at_level(logging.WARNING):
        index = read(layout, "test")
    assert index.records[1].path == "HandstandPushups/v_HandstandPushups_g01_c01.avi"
    assert "1 videos were found under another name" in caplog.text


def test_a_group_in_train_and_test_is_warned_of(ucf, caplog):
    with caplog.at_level(logging.WARNING):
        read(ucf(train=["Archery/v_Archery_g01_c04.avi 1", *TRAIN]))
    assert len(caplog.messages) == 1
    assert "shares (class, group) pairs, 1 with test, e.g. group g01 of class 0" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": ["Archery/a.avi"]}, r"trainlist01.txt row 1: 'Archery/a.avi' must be"),
        ({"train": ["a.avi 1"]}, r"row 1: 'a.avi 1' must name a video as"),
        ({"train": ["../a.avi 1"]}, r"row 1: '../a.avi 1' must name a video as"),
        ({"train": [TRAIN[0], "Bowling/a.avi 2"]}, r"row 2: class 'Bowling' is not in"),
        ({"train": ["Archery/a.avi 2"]}, r"row 1: label 2 but 'Archery' has 1 .* 1 \.\. 2"),
        ({"train": ["Archery/a.avi 7"]}, r"row 1: label 7 but 'Archery' has 1"),
        (
            {"train": [*TRAIN, TRAIN[0]]},
            r"trainlist01.txt row 3: Archery/v_Archery_g08_c01.avi is listed twice, first in row 1",
        ),
        (
            {"train": [*TRAIN, f"{TEST[0]} 1"]},
            r"1 videos are in train and test, e.g. Archery/v_Archery_g01_c01.avi "
            r"\(row 3 of .*trainlist01.txt, row 1 of .*testlist01.txt\)",
        ),
        ({"classes": "1 Archery\n3 Bowling\n"}, r"classInd.txt row 2: '3 Bowling' must be '2 "),
        ({"classes": "0 Archery\n"}, r"classInd.txt row 1: '0 Archery' must be '1 "),
    ],
)
def test_a_wrong_row_is_named(ucf, change, message):
    with pytest.raises(InputError, match=message):
        read(ucf(**change))


def test_an_empty_root_says_how_many_videos_were_looked_for(ucf, tmp_path):
    layout = ucf()
    layout["root"] = tmp_path / "lists"
    with pytest.raises(InputError, match=r"0 videos of 2 listed exist under .*lists"):
        read(layout)


@pytest.mark.parametrize("key", ["root", "annotations"])
def test_a_folder_that_is_not_there_is_named(ucf, key):
    layout = ucf()
    layout[key] = layout[key] / "nowhere"
    with pytest.raises(InputError, match="nowhere is not a folder"):
        read(layout)


def test_the_split_must_be_known(ucf):
    with pytest.raises(InputError, match="must be 1, 2 or 3, got 4"):
        count_dataset(DatasetSpec("ucf101", annotations=ucf()["annotations"], split_number=4))


@pytest.mark.parametrize("extension", [".mp4", ".MKV", ".m2ts"])
def test_copies_in_another_container_are_found_with_one_warning(ucf, caplog, extension):
    layout = ucf()
    for file in layout["root"].rglob("*.avi"):
        file.rename(file.with_suffix(extension))
    with caplog.at_level(logging.WARNING):
        index = read(layout, "test")
    assert [r.path for r in index.records] == [row.replace(".avi", extension) for row in TEST]
    said = [message for message in caplog.messages if "under another name" in message]
    assert said == [
        f"ucf101: 4 videos were found under another name, e.g. {TRAIN[0][:-2]} as "
        + TRAIN[0][:-2].replace(".avi", extension)
    ]


def test_two_copies_in_other_containers_are_not_chosen_between(ucf):
    layout = ucf()
    file = layout["root"] / TEST[1]
    file.rename(file.with_suffix(".mp4"))
    file.with_suffix(".mkv").touch()
    assert read(layout, "test").missing == (TEST[1],)


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/annotations is not here")
@pytest.mark.parametrize(
    ("split", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)]
)
def test_the_real_lists_have_their_known_sizes_and_no_shared_group(split, train, test, caplog):
    counts = count_dataset(DatasetSpec("ucf101", annotations=REAL, split_number=split))
    assert counts == {"train": train, "test": test, "classes": 101}
    assert "shares" not in caplog.text
