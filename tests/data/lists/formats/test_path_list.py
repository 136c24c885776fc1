import logging

import pytest

from videokd.data.lists.formats.read import count_dataset, find_dataset, read_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.utils.errors import InputError

VIDEOS = ["run/my clip_1.mp4", "sit/a,b_2.avi", "run/x_3.mkv"]


@pytest.fixture
def lists(tmp_path):
    """lists({file name: text}, videos) writes lists and videos, and gives (root, lists)."""

    def make(files, videos=VIDEOS):
        annotations = tmp_path / "lists"
        annotations.mkdir(exist_ok=True)
        for name, text in files.items():
            (annotations / name).write_text(text)
        for video in videos:
            path = tmp_path / "all videos" / video
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "all videos", annotations

    return make


def read_all(layout, **options):
    spec = DatasetSpec("list", root=layout[0], annotations=layout[1], **options)
    return find_dataset(spec, name="list")


def read(layout, split="train", **options):
    return read_all(layout, **options)[split]


def count(layout):
    return count_dataset(DatasetSpec("list", annotations=layout[1]))


def plain(index):
    return [(r.path, r.label) for r in index.records]


@pytest.mark.parametrize(
    ("separator", "text"),
    [
        ("auto", "{0} 0\n{1} 1\n"),
        ("auto", "{0}\t0\r\n{1},1\r\n\r\n"),
        ("auto", "{0}, 0\n{1} , 1\n"),
        (" ", "{0} 0\n{1} 1\n"),
        (",", "{0},0\n{1}, 1\n"),
        (";", "{0};0\n{1};1\n"),
        ("\t", "{0}\t0\n{1}\t01\n"),
        (" => ", "{0} => 0\n{1} => 1\n"),
    ],
)
def test_a_row_is_split_at_its_last_separator(lists, separator, text):
    layout = lists({"train.csv": text.format(*VIDEOS)})
    assert plain(read(layout, separator=separator)) == [(VIDEOS[0], 0), (VIDEOS[1], 1)]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.csv", "val.csv"),
        ("train.csv", "test.csv"),
        ("train.txt", "val.txt"),
        ("kinetics400_train_list_videos.txt", "kinetics400_val_list_videos.txt"),
        ("ucf101_train_split_1_videos.txt", "ucf101_val_split_1_videos.txt"),
    ],
)
def test_lists_are_found_by_the_names_that_toolkits_give_them(lists, train, test):
    layout = lists({train: f"{VIDEOS[0]} 0\n", test: f"{VIDEOS[2]} 0\n"})
    assert plain(read(layout)) == [(VIDEOS[0], 0)]
    assert plain(read(layout, "test")) == [(VIDEOS[2], 0)]
    assert count(layout) == {"train": 1, "test": 1, "classes": 1}


def test_train_val_and_test_lists_are_three_splits(lists):
    files = {"train.csv": VIDEOS[0], "val.csv": VIDEOS[1], "test.csv": VIDEOS[2]}
    layout = lists({name: f"{video} 0\n" for name, video in files.items()})
    indexes = read_all(layout)
    assert {split: (index.split, plain(index)) for split, index in indexes.items()} == {
        "train": ("train.csv", [(VIDEOS[0], 0)]),
        "val": ("val.csv", [(VIDEOS[1], 0)]),
        "test": ("test.csv", [(VIDEOS[2], 0)]),
    }
    assert count(layout) == {"train": 1, "val": 1, "test": 1, "classes": 1}


def test_a_val_list_that_is_the_test_list_is_the_test_split_only(lists, caplog):
    files = {"train.csv": VIDEOS[:1], "val.csv": VIDEOS[1:], "test.csv": VIDEOS[:0:-1]}
    layout = lists({k: "".join(f"{v} 0\n" for v in videos) for k, videos in files.items()})
    with caplog.at_level(logging.WARNING):
        indexes = read_all(layout)
    assert list(indexes) == ["train", "test"]
    assert caplog.text.count("val and test list the same videos") == 1


@pytest.mark.parametrize("splits", [("train", "val"), ("train", "test"), ("val", "test")])
def test_no_two_splits_may_share_a_video(lists, splits):
    videos = {"train": [VIDEOS[0]], "val": [VIDEOS[1]], "test": [VIDEOS[2], "sit/more.avi"]}
    videos[splits[1]].append(videos[splits[0]][0])
    layout = lists({f"{p}.csv": "".join(f"{v} 0\n" for v in own) for p, own in videos.items()})
    with pytest.raises(InputError, match=f"1 videos are in {splits[0]} and {splits[1]}, e.g. "):
        read(layout)


def test_further_columns_are_left_out_with_one_line(lists, caplog):
    header = "path,label,fps,video id,duration"
    files = {"train.csv": VIDEOS[0], "val.csv": VIDEOS[2]}
    layout = lists({name: f"{header}\n{video},sit,25,7,3.5\n" for name, video in files.items()})
    with caplog.at_level(logging.WARNING):
        assert plain(read(layout)) == [(VIDEOS[0], 0)]
    assert caplog.messages == [f"{layout[1]}: columns that are not read: fps, video id, duration"]


@pytest.mark.parametrize(
    "column", ["start", "End", "start_time", "time_end", "t_start", "end_frame", "start sec"]
)
def test_columns_of_times_are_refused(lists, column):
    layout = lists({"train.csv": f"path,label,{column}\n{VIDEOS[0]},sit,3\n"})
    with pytest.raises(InputError, match=rf"column '{column.lower()}' is a time within a video"):
        read(layout)


@pytest.mark.parametrize(
    ("separator", "text", "hint"),
    [
        ("auto", "path;label\na.mp4;1\n", r"separated by ';', so set SEPARATOR to ';'"),
        ("auto", "a.mp4;1\n", r"SEPARATOR is 'auto', here it is ';': set it so"),
        (";", "a.mp4,1\n", r"SEPARATOR is ';', here it is ','"),
        ("\\t", "a.mp4\t1\n", r'in YAML, a tab is "\\t" in double quotes'),
        ("auto", "file,class\na.mp4,1\n", "its columns must be called path and label"),
        ("auto", "a.mp4 run\n", "labels that are names need the header path,label"),
        ("auto", '"a b.mp4",1\n', 'path "a b.mp4" is in quotes, which are read under a header'),
    ],
)
def test_a_row_that_cannot_be_read_is_explained(lists, separator, text, hint):
    with pytest.raises(InputError, match=hint) as caught:
        read(lists({"train.csv": text}), separator=separator)
    assert "train.csv row 1: " in str(caught.value)


def test_a_header_in_quotes_is_a_header(lists):
    layout = lists({"train.csv": f'"path","label"\n"{VIDEOS[0]}","sit"\n'})
    assert plain(read(layout)) == [(VIDEOS[0], 0)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_lists_may_have_a_byte_order_mark_and_crlf(lists, encoding):
    layout = lists({})
    text = f"path,label\r\n{VIDEOS[0]},sit\r\n"
    (layout[1] / "train.csv").write_bytes(text.encode(encoding))
    assert plain(read(layout)) == [(VIDEOS[0], 0)]


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("latin1", r"not UTF-8 text \(byte 0xe9 in row 2\); .* iconv -f latin1 -t utf-8"),
        ("utf-16", r"not UTF-8 text \(byte 0xff in row 1\); .* iconv -f utf-16 -t utf-8"),
    ],
)
def test_a_list_in_another_encoding_is_named(lists, encoding, message):
    layout = lists({})
    (layout[1] / "train.csv").write_bytes("a.mp4 0\ncaf\u00e9.mp4 0\n".encode(encoding))
    with pytest.raises(InputError, match=message):
        read(layout)


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ("run\\x_3.mkv 0", "paths of lists are written with / and not with backslashes"),
        ("all videos/run/x_3.mkv 0", r"begin with all videos/, so set the root to "),
    ],
)
def test_the_cause_of_missing_videos_is_named(lists, row, hint):
    with pytest.raises(InputError, match=f"0 videos of 1 listed exist under .*{hint}"):
        read(lists({"train.csv": f"{row}\n"}))


def test_a_link_to_nothing_is_a_missing_video(lists):
    layout = lists({"train.csv": f"{VIDEOS[0]} 0\n{VIDEOS[1]} 0\n"})
    (layout[0] / VIDEOS[1]).unlink()
    (layout[0] / VIDEOS[1]).symlink_to("gone")
    assert read(layout).missing == (VIDEOS[1],)


def test_the_split_picks_among_the_lists_of_several(lists):
    names = ("u_train_split_1_videos.txt", "u_train_split_2_videos.txt")
    layout = lists({name: f"{video} 0\n" for name, video in zip(names, VIDEOS, strict=False)})
    assert plain(read(layout, split_number=2)) == [(VIDEOS[1], 0)]
    with pytest.raises(InputError, match="no training list such as .*train_split_3_videos.txt"):
        read(layout, split_number=3)
    (layout[1] / names[1]).rename(layout[1] / "train.csv")
    with pytest.raises(InputError, match="no training list"):
        read(layout, split_number=2)


def test_two_lists_of_one_split_are_an_error(lists):
    layout = lists({"train.csv": f"{VIDEOS[0]} 0\n", "ucf_train.txt": f"{VIDEOS[0]} 0\n"})
    with pytest.raises(InputError, match="train.csv and ucf_train.txt may both be the train list"):
        read(layout)


def test_the_paths_of_mmaction2_may_start_from_the_folder_of_their_part(lists):
    files = {"k_train_list_videos.txt": "run/a.mp4 0\n", "k_val_list_videos.txt": "run/a.mp4 0\n"}
    layout = lists(files, ["videos_train/run/a.mp4", "videos_val/run/a.mp4"])
    assert plain(read(layout)) == [("videos_train/run/a.mp4", 0)]
    assert plain(read(layout, "test")) == [("videos_val/run/a.mp4", 0)]


def test_absolute_paths_must_be_under_the_root(lists, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "all videos")
    rows = [f"{tmp_path}/link//{VIDEOS[0]} 0", f"{tmp_path}/all videos/{VIDEOS[1]} 0"]
    layout = lists({"train.csv": "\n".join(rows)})
    assert [p for p, _ in plain(read((tmp_path / "link", layout[1])))] == VIDEOS[:2]
    layout = lists({"train.csv": "run/../sit/./a,b_2.avi 0\n/etc/a.mp4 0\n"})
    with pytest.raises(InputError, match=r"train.csv row 2: '/etc/a.mp4' is not under the root"):
        read(layout)
    layout = lists({"train.csv": "run/../../a.mp4 0\n"})
    with pytest.raises(InputError, match=r"row 1: 'run/../../a.mp4' is not under the root"):
        read(layout)


def test_a_path_is_normalised_before_it_is_looked_for_and_compared(lists):
    layout = lists({"train.csv": f"./{VIDEOS[0]} 0\nrun//x_3.mkv 1\nsit/../run/x_3.mkv 1\n"})
    with pytest.raises(InputError, match=r"train.csv row 3: run/x_3.mkv is listed twice, first"):
        read(layout)


def test_missing_videos_are_left_out_and_named(lists):
    index = read(lists({"train.csv": f"{VIDEOS[0]} 0\nrun/gone.mp4 1\n"}))
    assert index.missing == ("run/gone.mp4",)
    assert index.class_names == ("0", "1")


def test_classes_may_have_names_in_a_file_of_their_own(lists):
    names = {"classes.txt": "run\nsit down\nwave\n"}
    layout = lists({"train.csv": f"{VIDEOS[0]} 0\n{VIDEOS[1]} 1\n", **names})
    assert read(layout).class_names == ("run", "sit down", "wave")
    layout = lists({"train.csv": f"{VIDEOS[0]} 3\n"})
    with pytest.raises(InputError, match=r"row 1: label '3' is not among the 3 classes \(run \.\."):
        read(layout)
    for twice, message in (("run\nrun\n", "'run' is listed twice"), ("Run\nrun\n", "in spelling")):
        layout = lists({"classes.txt": twice})
        with pytest.raises(InputError, match=message):
            read(layout)


def test_a_list_that_counts_from_one_is_warned_of(lists, caplog):
    layout = lists({"train.csv": f"{VIDEOS[0]} 1\n{VIDEOS[1]} 2\n"})
    with caplog.at_level(logging.WARNING):
        read(layout)
    assert "1 of 3 classes have no training video, e.g. 0; labels count from 0" in caplog.text


def test_one_csv_with_a_header_holds_all_parts(lists):
    rows = [f'"{VIDEOS[1]}",Run it,train,p2', f"{VIDEOS[2]},run_it,VAL,"]
    head = ["Path, label,split,group", f"{VIDEOS[0]},sit,train,p1"]
    layout = lists({"all.csv": "\n".join([*head, *rows])})
    layout = (layout[0], layout[1] / "all.csv")
    index = read(layout)
    assert index.class_names == ("Run it", "sit")
    assert plain(index) == [(VIDEOS[0], 1), (VIDEOS[1], 0)]
    assert [r.group for r in index.records] == ["p1", "p2"]
    assert [(r.label, r.group) for r in read(layout, "test").records] == [(0, "x")]
    assert count(layout) == {"train": 2, "test": 1, "classes": 2}


def test_a_header_may_have_another_separator_and_labels_that_are_numbers(lists):
    layout = lists({"train.csv": f"label;path\n1;{VIDEOS[1]}\n0;{VIDEOS[0]}\n"})
    assert plain(read(layout, separator=";")) == [(VIDEOS[1], 1), (VIDEOS[0], 0)]


def test_the_group_is_in_the_name_in_the_column_or_where_the_pattern_finds_it(lists):
    layout = lists({"train.csv": f'path,label,group\n"{VIDEOS[0]}",0,g\n"{VIDEOS[1]}",0,\n'})
    assert [r.group for r in read(layout).records] == ["g", "a,b"]
    assert [r.group for r in read(layout, group_pattern="^[^/]+").records] == ["run", "sit"]
    with pytest.raises(InputError, match=r"row 3: group pattern 'clip' is not in 'sit/a,b_2.avi'"):
        read(layout, group_pattern="clip")
    with pytest.raises(InputError, match=r"group pattern '\(' is no regular expression"):
        read(layout, group_pattern="(")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run/my clip_1.mp4\n", r"row 1: 'run/my clip_1.mp4' must be '<path><separator><label>'"),
        ("run/a.mp4 -1\n", r"row 1: 'run/a.mp4 -1' must be"),
        ("3\n", r"row 1: '3' must be"),
        ("\n run/a.mp4 run\n", r"row 2: 'run/a.mp4 run' must be"),
        ("run/a 250 0\n", r"row 1: 'run/a 250 0' has a number between path and label; frame fold"),
        ("run/a.mp4 250 0\n", r"row 1: 'run/a.mp4 250 0' has a number between path and label"),
        ("run/a.ts 3 0\n", r"row 1: 'run/a.ts 3 0' has a number between path and label"),
        ("run/a.mp4,3,0\n", r"row 1: 'run/a.mp4,3,0' has a number between path and label"),
        ("run/a.mp4 20260101\n", r"row 1: label 20260101 of run/a.mp4; labels .* below 100000"),
        ("a.mp4 0\nb.mp4 0\na.mp4 1\n", r"train.csv row 3: a.mp4 is listed twice, first in row 1"),
        ("", "lists no training video"),
        ("path,label\na.mp4\n", r"row 2: 'a.mp4' has 1 fields, the header 2; put \"quotes\""),
        ("path,label\na.mp4,\n", r"row 2: path 'a.mp4' and label '' must not be empty"),
        ("path,label,split\na.mp4,x,val\n", r"train.csv row 2: split 'val' must be train"),
        ("path,label,start,end\n", r"row 1: column 'start' is a time within a video"),
        ("path,label,label\n", r"row 1: columns path,label,label must be path,label"),
        ("path,label\na.mp4,Run\nb.mp4,run\n", r"train.csv: classes 'Run' and 'run' differ only"),
    ],
)
def test_a_wrong_row_is_named(lists, text, message):
    with pytest.raises(InputError, match=message):
        read(lists({"train.csv": text}))


def test_a_list_of_frame_folders_is_refused_by_its_name_unless_there_is_one_of_videos(lists):
    layout = lists({"ucf101_train_split_1_rawframes.txt": "run/a 250 0\n"})
    with pytest.raises(InputError, match="split_1_rawframes.txt lists frame folders, which are"):
        read(layout)
    assert len(read(lists({"ucf101_train_split_1_videos.txt": f"{VIDEOS[0]} 0\n"}))) == 1


def test_a_video_in_train_and_test_is_an_error(lists):
    layout = lists({"train.csv": f"x.mp4 0\n{VIDEOS[0]} 0\n", "val.csv": f"{VIDEOS[0]} 0\n"})
    with pytest.raises(InputError, match=r"clip_1.mp4 \(row 2 of .*train.csv, row 1 of .*val.csv"):
        read(layout)


def test_a_test_label_that_training_does_not_know_is_an_error(lists):
    layout = lists({"train.csv": f"{VIDEOS[0]} 0\n", "val.csv": f"{VIDEOS[1]} 1\n"})
    with pytest.raises(InputError, match=r"val.csv row 1: label '1' is not among the 1 classes"):
        read(layout, "test")


def test_without_a_test_list_there_is_a_training_split_only(lists):
    layout = lists({"train.csv": f"{VIDEOS[0]} 0\n"})
    assert count(layout) == {"train": 1, "classes": 1}
    spec = DatasetSpec("list", root=layout[0], annotations=layout[1])
    with pytest.raises(InputError, match="X: .*lists has no test split; splits come from train"):
        read_dataset(spec, name="X")


@pytest.mark.parametrize("text", ["a.mp4 0\n", "", "path,label\na.mp4,x\n"])
def test_one_file_of_all_splits_must_say_which_row_is_of_which(lists, text):
    layout = lists({"all.csv": text})
    message = "must be the header path,label,split" if "path" not in text else "split '' must be"
    with pytest.raises(InputError, match=message):
        read((layout[0], layout[1] / "all.csv"))
