import pytest

from videokd.curation.findings import find_all


@pytest.fixture
def find(make_split, fill):
    """find(train, test, **options of find_all): the findings beside those of a full dataset."""

    def run(train=(), test=(), *, options=None, **kwargs):
        splits = [
            make_split("train", [*fill("a"), *train], **kwargs),
            make_split("test", [*fill("b"), *test], **kwargs),
        ]
        found = find_all(splits, **(options or {}))
        return [(f.kind, f.split, f.path) for f in found if f.kind != "other dataset"]

    return run


SAME = {"sha256": "same"}


def test_a_dataset_in_order_has_no_findings(find):
    assert find() == []


def test_a_video_of_the_test_part_under_another_name_in_training_leaks(find):
    found = find([("x.avi", 0, "g1", SAME)], [("y.avi", 0, "g2", SAME)])
    assert found == [("leak", "train", "x.avi")]


@pytest.mark.parametrize(
    ("first", "second"), [("train", "val"), ("train", "test"), ("val", "test")]
)
def test_a_video_in_any_two_parts_leaks_and_leaves_the_first(make_split, fill, first, second):
    videos = {split: fill(split) for split in ("train", "val", "test")}
    videos[first].append(("x.avi", 0, "g1", SAME))
    videos[second].append(("y.avi", 0, "g2", SAME))
    found = find_all([make_split(split, own, format="list") for split, own in videos.items()])
    assert [(f.kind, f.split, f.path) for f in found] == [("leak", first, "x.avi")]


def test_a_group_that_training_shares_with_validation_is_named(make_split, fill):
    videos = {split: fill(split) for split in ("train", "val", "test")}
    videos["val"].append(("x.avi", 1, "train0", {}))
    found = find_all([make_split(split, own, format="list") for split, own in videos.items()])
    assert [f.text for f in found] == ["train0 of sit: 1 videos in train, 1 in val"]


def test_contents_that_come_twice_are_told_apart_by_what_they_do(find):
    twice = [("x.avi", 0, "g1", SAME), ("y.avi", 0, "g2", SAME), ("z.avi", 0, "g3", SAME)]
    assert find(twice) == [("duplicate", "train", "y.avi"), ("duplicate", "train", "z.avi")]
    assert find(test=twice) == [("duplicate", "test", "y.avi"), ("duplicate", "test", "z.avi")]
    both = [("x.avi", 0, "g1", SAME), ("y.avi", 1, "g2", SAME)]
    assert find(both) == [("contradiction", "train", "x.avi"), ("contradiction", "train", "y.avi")]
    # Nothing is known of files that could not be read.
    unread = [("x.avi", 0, "g1", {"sha256": ""}), ("y.avi", 1, "g2", {"sha256": ""})]
    assert find(unread, unread[:1]) == [("shared group", "", "")]


def test_a_leak_from_one_dataset_to_another_is_found(make_split, fill):
    splits = [
        make_split("train", fill("a")),
        make_split("test", [*fill("b"), ("y.avi", 0, "g2", SAME)]),
        make_split("train", [*fill("c"), ("x.avi", 2, "g1", SAME)], dataset="B", format="folder"),
        make_split("test", fill("d"), dataset="B", format="folder"),
    ]
    found = [f for f in find_all(splits) if f.kind != "other dataset"]
    assert [(f.kind, f.dataset, f.split, f.path) for f in found] == [
        ("leak", "B", "train", "x.avi")
    ]
    assert found[0].text == "same content as y.avi (A test, run)"


def test_the_same_content_in_two_label_sets_is_no_contradiction(make_split, fill):
    splits = [
        make_split("train", [*fill("a"), ("x.avi", 0, "g1", SAME)], dataset=name, format="folder")
        for name in "AB"
    ]
    splits += [make_split("test", fill(name), dataset=name, format="folder") for name in "AB"]
    found = find_all(splits)
    assert [(f.kind, f.dataset, f.path) for f in found] == [("duplicate", "B", "x.avi")]


def test_groups_on_both_sides_are_bad_where_groups_are_known(find):
    shared = [("x.avi", 1, "a0", {})]
    assert find(test=shared) == [("shared group", "", "")]
    assert find(test=shared, format="folder") == [("possible group", "", "")]
    # A group is one of its class: UCF101 has a g01 in every class.
    assert find(test=[("x.avi", 1, "a9", {})], train=[("y.avi", 0, "a9", {})]) == []


def test_classes_with_few_usable_videos_are_named(make_split, fill):
    videos = fill("a", num=6)
    spoilt = [(path, k, g, {"problem": "short"} if k == 1 else {}) for path, k, g, _ in videos]
    spoilt = [video for n, video in enumerate(spoilt) if n not in (0, 1)]
    test = [video for video in fill("b") if video[1] != 2]
    found = find_all([make_split("train", spoilt), make_split("test", test)])
    texts = [(f.kind, f.split, f.text) for f in found if f.kind != "other dataset"]
    assert texts == [
        ("few videos", "train", "run: 4"),
        ("no video", "train", "sit"),
        ("not tested", "test", "wave"),
    ]


def test_names_that_differ_only_in_spelling_collide(find):
    names = ("hand_waving", "run", "Hand Waving")
    assert find(class_names=names) == [("class names", "", "")]


def test_odd_sizes_and_brief_videos_are_noted(find):
    train = [
        ("small.avi", 0, "g1", {"width": 64, "height": 480}),
        ("brief.avi", 0, "g2", {"num_frames": 28}),
    ]
    options = {"num_clip_frames": 29, "short_side": 240}
    found = find(train, options=options)
    # 1 of 20 is another size; the frame of 320 x 240 is just large enough.
    assert found == [
        ("small", "train", "small.avi"),
        ("odd size", "train", "small.avi"),
        ("brief", "train", "brief.avi"),
    ]
    assert find(train) == [("odd size", "train", "small.avi")]
    mixed = [(f"{n}.avi", 0, f"m{n}", {"width": 100 + n}) for n in range(3)]
    assert find(mixed) == []


@pytest.mark.parametrize(
    ("format", "num_classes", "number", "counts"),
    [("ucf101", 101, 2, (9586, 3734)), ("hmdb51", 51, 3, (3570, 1530))],
)
def test_counts_are_compared_with_the_published_ones(
    make_split, format, num_classes, number, counts
):
    names = tuple(f"class {n}" for n in range(num_classes))

    def check(num_train, num_test):
        sizes = zip(("train", "test"), (num_train, num_test), strict=True)
        splits = [
            make_split(
                split,
                [(f"{split}{n}.avi", n % num_classes, f"{split}{n}", {}) for n in range(size - 5)],
                format=format,
                split_number=number,
                class_names=names,
                missing=tuple(f"{split}{n}" for n in range(5)),
            )
            for split, size in sizes
        ]
        return [(f.kind, f.split, f.text) for f in find_all(splits)]

    assert check(*counts) == []
    text = f"{counts[0] + 1} videos listed, split {number} has {counts[0]}"
    assert check(counts[0] + 1, counts[1]) == [("counts", "train", text)]


def test_a_dataset_in_the_layout_of_ucf101_has_counts_of_its_own(make_split, fill):
    found = find_all([make_split("train", fill("a")), make_split("test", fill("b"))])
    assert [(f.kind, f.text) for f in found] == [("other dataset", "3 classes, ucf101 has 101")]
