import pytest

from videokd.data.formats import read_kinetics
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
    """read(files=..., train=..., val=...) writes a dataset and reads its training part."""

    def read(files, subset="train", train=TRAIN, val=VAL, header=HEADER):
        for name, rows in (("train", train), ("val", val)):
            (tmp_path / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
        for file in files:
            path = tmp_path / "videos" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return read_kinetics(tmp_path / "videos", annotations=tmp_path, subset=subset)

    return read


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
    index = kinetics(["val/_b_cdefghij_000001_000011.mp4"], subset="test")
    assert (index.num_classes, index.records[0].label) == (3, 2)


def test_a_replacement_wins(kinetics):
    name = f"{STEMS[0]}.mp4"
    replaced = f"replacement/replacement_for_corrupted_k400/{name}"
    assert kinetics([f"train/{name}", replaced]).records[0].path == replaced


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
        ({"train": [*TRAIN, TRAIN[0]]}, r"-a_b-c_d_ef_000005_000015 is listed twice"),
        ({"train": [*TRAIN, *VAL]}, r"1 videos are in train and test"),
    ],
)
def test_a_wrong_row_is_named(kinetics, change, message):
    with pytest.raises(InputError, match=message):
        kinetics([f"train/{STEMS[0]}.mp4"], **change)


def test_no_video_at_all_is_an_error(kinetics):
    with pytest.raises(InputError, match="0 videos of 3 listed exist under"):
        kinetics(["train/other.mp4"])
