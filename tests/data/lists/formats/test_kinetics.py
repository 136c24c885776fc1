import logging
from dataclasses import replace

import pytest

from videokd.data.lists.formats.read import count_dataset, find_dataset, read_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.utils.errors import InputError

HEADER = "label,youtube_id,time_start,time_end,split,is_cc"
NAMES = ["massaging person's head", "passing American football (in game)", "abseiling"]
TRAIN = [
    f"{NAMES[1]},-a_b-c_d_ef,5,15,train,0",
    f'"{NAMES[0]}",zzzzzzzzzzz,120,130,train,0',
    f"{NAMES[2]},yyyyyyyyyyy,0,10,train,0",
]
VAL = [f"{NAMES[1]},_b_cdefghij,1,11,validate,0"]
STEMS = ["-a_b-c_d_ef_000005_000015", "zzzzzzzzzzz_000120_000130", "yyyyyyyyyyy_000000_000010"]


@pytest.fixture
def kinetics(tmp_path):
    """read(files=..., train=..., val=...) writes a dataset and reads a split of it."""

    def read(files, split="train", train=TRAIN, val=VAL, header=HEADER):
        other = "val/_b_cdefghij_000001_000011.mp4" if split == "train" else f"train/{STEMS[0]}.mp4"
        for name, rows in (("train", train), ("val", val)):
            (tmp_path / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
        for file in [*files, other]:
            path = tmp_path / "videos" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        spec = DatasetSpec("kinetics", root=tmp_path / "videos", annotations=tmp_path)
        return find_dataset(spec, name="kinetics")[split]

    return read


def count(annotations):
    return count_dataset(DatasetSpec("kinetics", annotations=annotations))


def test_flat_videos_get_their_labels_from_the_list_in_alphabetical_order(kinetics):
    index = kinetics([f"train/{stem}.mp4" for stem in STEMS])
    assert index.class_names == ("abseiling", *NAMES[:2])
    assert [(r.path, r.label) for r in index.records] == [
        (f"train/{STEMS[0]}.mp4", 2),
        (f"train/{STEMS[1]}.mp4", 1),
        (f"train/{STEMS[2]}.mp4", 0),
    ]
    assert index.records[0].group == "-a_b-c_d_ef"


@pytest.mark.parametrize(
    "folders",
    [
        NAMES[:2],
        [name.replace(" ", "_") for name in NAMES[:2]],
        ["massaging_persons_head", "passing_American_football_in_game"],
    ],
)
def test_folders_may_spell_labels_in_three_ways(kinetics, folders):
    files = [f"train/{folders[1]}/{STEMS[0]}.mp4", f"train/{folders[0]}/{STEMS[1]}.MKV"]
    index = kinetics(files)
    assert [r.path for r in index.records] == files
    assert index.missing == (STEMS[2],)


def test_the_val_part_is_the_test_part_and_has_the_classes_of_training(kinetics):
    index = kinetics(["val/_b_cdefghij_000001_000011.mp4"], split="test")
    assert (index.num_classes, index.records[0].label) == (3, 2)


def test_a_replacement_wins(kinetics):
    name = f"{STEMS[0]}.mp4"
    replaced = f"replacement/replacement_for_corrupted_k400/{name}"
    assert kinetics([f"train/{name}", replaced]).records[0].path == replaced


def test_a_replacement_stands_in_for_a_file_that_is_gone_and_may_lie_flat(kinetics):
    path = f"replacement/{STEMS[1]}.mp4"
    assert [r.path for r in kinetics([path]).records] == [path]


@pytest.mark.parametrize("folder", ["videos_train", "train_256"])
def test_a_part_may_have_the_folder_that_other_toolkits_give_it(kinetics, folder):
    path = f"{folder}/passing_American_football_(in_game)/{STEMS[0]}.mp4"
    assert [r.path for r in kinetics([path]).records] == [path]


def test_two_files_of_one_video_are_warned_of(kinetics, caplog):
    with caplog.at_level(logging.WARNING):
        index = kinetics([f"train/{STEMS[0]}.avi", f"train/{STEMS[0]}.mp4"])
    assert [r.path for r in index.records] == [f"train/{STEMS[0]}.mp4"]
    assert f"1 videos have several files in {index.root / 'train'}" in caplog.text


@pytest.mark.parametrize("names", [("train.csv", "validate.csv"), ("kinetics_train.csv",) * 2])
def test_lists_may_be_called_as_in_the_archives_of_others(kinetics, tmp_path, names):
    index = kinetics([f"train/{STEMS[0]}.mp4"])
    (tmp_path / "train.csv").rename(tmp_path / names[0])
    (tmp_path / "val.csv").rename(tmp_path / names[1].replace("_train", "_val"))
    again = find_dataset(
        DatasetSpec("kinetics", root=index.root, annotations=tmp_path), name="kinetics"
    )["train"]
    assert again == replace(index, split=names[0])
    assert count(tmp_path) == {
        "train": 3,
        "test": 1,
        "classes": 3,
    }


def test_times_may_be_written_as_decimals_and_columns_in_any_order(kinetics):
    rows = ["0,train,yyyyyyyyyyy,10.0,0.0,abseiling"]
    val = ["0,val,_b_cdefghij,11,1,abseiling"]
    header = "is_cc,split,youtube_id,time_end,time_start,label"
    index = kinetics([f"train/{STEMS[2]}.mp4"], train=rows, val=val, header=header)
    assert [r.path for r in index.records] == [f"train/{STEMS[2]}.mp4"]


def test_a_list_that_spells_a_label_in_two_ways_has_one_class_for_it(kinetics):
    train = [*TRAIN, "Abseiling,xxxxxxxxxxx,0,10,train,0"]
    index = kinetics(["train/xxxxxxxxxxx_000000_000010.mp4"], train=train)
    assert (index.num_classes, index.class_names[index.records[0].label]) == (3, "Abseiling")


def test_a_test_list_without_labels_is_not_taken_for_the_val_list(kinetics, tmp_path):
    index = kinetics([f"train/{STEMS[0]}.mp4"])
    test_list = tmp_path / "test.csv"
    test_list.write_text("youtube_id,time_start,time_end,split\naaaaaaaaaaa,0,10,test\n")
    assert count(tmp_path) == {
        "train": 3,
        "test": 1,
        "classes": 3,
    }
    test_list.replace(tmp_path / "val.csv")
    with pytest.raises(InputError, match=r"val.csv row 1: no column 'label'; .* have no labels"):
        count(tmp_path)
    (tmp_path / "val.csv").replace(test_list)
    spec = DatasetSpec("kinetics", root=index.root, annotations=tmp_path)
    with pytest.raises(InputError, match=r"has no test split; .* its test lists have no labels"):
        read_dataset(spec, name="K400")


def test_two_lists_of_one_split_are_an_error(kinetics, tmp_path):
    kinetics([f"train/{STEMS[0]}.mp4"])
    (tmp_path / "validate.csv").write_text((tmp_path / "val.csv").read_text())
    with pytest.raises(InputError, match="val.csv and validate.csv may both be the test list"):
        count(tmp_path)


def test_a_test_list_is_left_out_with_one_line(kinetics, tmp_path, caplog):
    (tmp_path / "test.csv").write_text(f"{HEADER}\n{VAL[0]}\n")
    with caplog.at_level(logging.INFO):
        index = kinetics(["val/_b_cdefghij_000001_000011.mp4"], split="test")
    assert index.split == "val.csv"
    assert caplog.text.count("test lists of Kinetics are not read") == 1


def test_a_list_that_is_not_utf8_is_named(kinetics, tmp_path):
    kinetics([f"train/{STEMS[0]}.mp4"])
    (tmp_path / "val.csv").write_bytes(f"{HEADER}\ncaf\u00e9,a,0,10\n".encode("latin1"))
    with pytest.raises(InputError, match=r"not UTF-8 text \(byte 0xe9 in row 2\); convert it"):
        count(tmp_path)


def test_a_part_without_a_list_has_no_count(kinetics, tmp_path):
    kinetics([f"train/{STEMS[0]}.mp4"])
    (tmp_path / "train.csv").unlink()
    assert count(tmp_path) == {"test": 1, "classes": 1}
    (tmp_path / "val.csv").unlink()
    with pytest.raises(InputError, match=r"has no file train.csv or kinetics_train.csv or val.csv"):
        count(tmp_path)


def test_a_file_in_the_folder_of_another_label_is_an_error(kinetics):
    with pytest.raises(InputError, match=r"lies in folder 'abseiling', but the list calls it"):
        kinetics([f"train/abseiling/{STEMS[0]}.mp4"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": HEADER.replace("label", "x")}, r"train.csv row 1: no column 'label'"),
        ({"val": ["diving,aaaaaaaaaaa,0,10,val,0"]}, r"val.csv row 2: label 'diving' is not among"),
        ({"train": ["a,aaaaaaaaaaa,x,10"]}, r"train.csv row 2: times 'x', '10' must be seconds"),
        ({"train": ["a,aaaaaaaaaaa,10,10"]}, r"row 2: 'aaaaaaaaaaa' from 10 to 10 s must be"),
        ({"train": ["a,../../etc/x,0,10"]}, r"row 2: '../../etc/x' from 0 to 10 s must be"),
        ({"train": ["a,,0,10"]}, r"row 2: '' from 0 to 10 s must be"),
        ({"train": ["a,aaaaaaaaaaa,1"]}, r"row 2: 'a,aaaaaaaaaaa,1' has 3 fields, needed are 4"),
        ({"train": [*TRAIN, ",aaaaaaaaaaa,0,10"]}, r"train.csv row 5: label '' is not among"),
        (
            {"train": [*TRAIN, TRAIN[0]]},
            r"train.csv row 5: -a_b-c_d_ef_000005_000015 is listed twice, first in row 2",
        ),
        (
            {"train": [*TRAIN, *VAL]},
            r"1 videos are in train and test, .* \(row 5 of .*train.csv, row 2 of .*val.csv\)",
        ),
    ],
)
def test_a_wrong_row_is_named(kinetics, change, message):
    with pytest.raises(InputError, match=message):
        kinetics([f"train/{STEMS[0]}.mp4"], **change)


def test_no_video_at_all_is_an_error(kinetics):
    with pytest.raises(InputError, match="0 videos of 3 listed exist under"):
        kinetics(["train/other.mp4"])
