import json

import pytest

from videokd.data.lists.formats.read import count_dataset, find_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.utils.errors import InputError

LABELS = {"Pouring something into something": "1", "Holding something": "0"}
TRAIN = [
    {"id": "78687", "label": "holding potato", "template": "Holding [something]"},
    {"id": "42", "label": "x", "template": "Pouring [something] into [something]"},
]
VALIDATION = [{"id": "7", "label": "x", "template": "Pouring something into something"}]


@pytest.fixture
def ssv2(tmp_path):
    """read(files=..., split=..., train=..., ...) writes a dataset and reads a split of it."""

    def read(
        files=("78687.webm", "42.webm", "7.webm"),
        split="train",
        *,
        prefix="something-something-v2-",
        **lists,
    ):
        contents = {"labels": LABELS, "train": TRAIN, "validation": VALIDATION, **lists}
        for name, content in contents.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / f"{prefix}{name}.json").write_text(text)
        for file in files:
            path = tmp_path / "all videos" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        spec = DatasetSpec("ssv2", root=tmp_path / "all videos", annotations=tmp_path)
        return find_dataset(spec, name="ssv2")[split]

    return read


def test_templates_without_brackets_give_the_label_of_a_string_id(ssv2):
    index = ssv2()
    assert index.class_names == ("Holding something", "Pouring something into something")
    assert [(r.path, r.label, r.group) for r in index.records] == [
        ("78687.webm", 0, "78687"),
        ("42.webm", 1, "42"),
    ]


def test_the_validation_part_is_the_test_part(ssv2):
    assert [(r.path, r.label) for r in ssv2(split="test").records] == [("7.webm", 1)]


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_lists_of_both_releases_are_counted_without_videos(ssv2, tmp_path, prefix):
    ssv2(prefix=prefix)
    spec = DatasetSpec("ssv2", annotations=tmp_path)
    assert count_dataset(spec) == {"train": 2, "test": 1, "classes": 2}


@pytest.mark.parametrize(
    "path", ["20bn-something-something-v2/42.webm", "videos/42.mp4", "42.MP4", "42.avi"]
)
def test_videos_are_found_in_the_folders_and_containers_of_copies(ssv2, path):
    index = ssv2([path, f"{path.rpartition('/')[0]}/7.webm".lstrip("/")])
    assert [r.path for r in index.records] == [path]
    assert index.missing == ("78687",)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"labels": {"a": "0", "b": "2"}}, r"labels.json: class id '2' of 'b' must be .* 0 to 1"),
        ({"labels": {"a": "0", "b": "0"}}, r"labels.json: class id '0' of 'b' must be"),
        ({"labels": {"a": "x"}}, r"labels.json: class id 'x' of 'a' must be"),
        ({"labels": []}, r"labels.json must hold \{\"template\""),
        ({"train": "[1, 2"}, r"train.json is not JSON: Expecting"),
        ({"train": {"id": "1"}}, r"train.json must hold a list of"),
        ({"train": [TRAIN[0], {"id": "1"}]}, r"train.json entry 2: .*'id': '1'.* must be"),
        ({"train": [{"id": "../1", "template": "a"}]}, r"train.json entry 1: .* must be"),
        ({"train": [3]}, r"train.json entry 1: '3' must be"),
        (
            {"train": [{"id": "1", "template": "Eating [x]"}]},
            r"train.json entry 1: template 'Eating \[x\]' of video 1 is not among the 2",
        ),
        ({"train": [TRAIN[0], TRAIN[0]]}, r"train.json row 2: 78687 is listed twice"),
        (
            {"validation": [TRAIN[1]]},
            r"in train and test, e.g. 42 \(row 2 of .*trai",
        ),
    ],
)
def test_a_wrong_entry_is_named(ssv2, lists, message):
    with pytest.raises(InputError, match=message):
        ssv2(**lists)


def test_a_list_that_is_not_there_is_named(ssv2, tmp_path):
    index = ssv2()
    (tmp_path / "something-something-v2-validation.json").unlink()
    with pytest.raises(InputError, match="something-something-v2-validation.json does not exist"):
        find_dataset(DatasetSpec("ssv2", root=index.root, annotations=tmp_path), name="ssv2")
