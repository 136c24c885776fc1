import hashlib
import logging
import random
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from videokd.data.lists.index import RecordTable, VideoIndex, VideoRecord, hold_out_groups
from videokd.utils.errors import InputError


@pytest.fixture(params=[tuple, RecordTable.from_records], ids=["tuple", "table"])
def keep(request):
    """keep(index): the same index with its records in a tuple or in a table."""
    return lambda index: replace(index, records=request.param(index.records))


def make_index(num_groups: int = 5, num_clips: int = 4, num_classes: int = 3) -> VideoIndex:
    records = tuple(
        VideoRecord(f"c{k}/g{g}_{c}.avi", k, "toy", f"g{g}")
        for k in range(num_classes)
        for g in range(num_groups)
        for c in range(num_clips)
    )
    return VideoIndex(records, tuple("abc"[:num_classes]), Path("/videos"), "toy", "train")


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_an_input_error(label):
    records = (VideoRecord("a/a.avi", 0, "toy", "g"), VideoRecord("a/b.avi", label, "toy", "g"))
    message = rf"record 1 \(a/b.avi\) has label {label}, allowed are 0 .. 2"
    for kept in (records, RecordTable.from_records(records)):
        with pytest.raises(InputError, match=message):
            VideoIndex(kept, ("a", "b", "c"), Path("/"), "toy", "train")


def test_digest_changes_with_records_and_names_but_not_with_the_root():
    index = make_index()
    assert index.digest() == make_index().digest()
    assert index.digest() == replace(index, root=Path("/elsewhere")).digest()
    assert index.digest() != replace(index, records=index.records[:-1]).digest()
    assert index.digest() != replace(index, class_names=("a", "b", "d")).digest()


def test_digest_hashes_a_text_that_is_the_same_in_every_run():
    text = b'[["a"],[["c0/g0_0.avi",0,"toy","g0"]]]'
    assert make_index(1, 1, 1).digest() == hashlib.sha256(text).hexdigest()


ODD_NAMES = (
    *("a # b.avi", "c;d[1].avi", "e & f!.mp4", "gr\u00fc\u00dfe.webm", "\u65e5\u672c.mkv"),
    *('quote".mov', "bad\udcff.avi"),
)


def make_odd_index():
    records = tuple(
        VideoRecord(
            f"k{n % 3}/{n}_{ODD_NAMES[n % 7]}",
            n % 3,
            "odd",
            ("", "g 1", "\u00e9", "z", "B")[n * n % 5],
        )
        for n in range(42)
    )
    return VideoIndex(records, ("a b", "c", "\u00e9"), Path("/v"), "odd", "train")


def make_large_index():
    records = tuple(
        VideoRecord(f"c{n % 7}/g{n * n % 31}_{n}.avi", n % 7, "toy", f"g{n * n % 31}")
        for n in range(700)
    )
    return VideoIndex(records, tuple("abcdefg"), Path("/v"), "toy", "train")


# Runs are found again by these: they must never change.
@pytest.mark.parametrize(
    ("make", "digest"),
    [
        (make_odd_index, "e67a0eb5a6e7f0dddc8d4cb9b56512ba63b60b2c1b5fa53dabed526195d982b2"),
        (make_large_index, "5aec8c825522215ea1fc053ab7dca9a48443e2aa2c638153111ae82128d33492"),
    ],
)
def test_the_digest_is_the_one_that_runs_were_stored_under(make, digest, keep, monkeypatch):
    assert keep(make()).digest() == digest
    monkeypatch.setattr("videokd.data.lists.index._NUM_ROWS_PER_TEXT", 10)
    assert keep(make()).digest() == digest


def test_what_was_found_in_the_files_does_not_enter_the_digest(keep):
    index = make_index()
    scanned = [replace(r, num_frames=9, fps=25.0, cause="empty file") for r in index.records]
    assert keep(replace(index, records=tuple(scanned))).digest() == index.digest()


def test_nothing_is_held_out_of_nothing(keep):
    train, validation = hold_out_groups(keep(make_index(num_groups=0)), fraction=0.5, seed=0)
    assert (len(train), len(validation)) == (0, 0)


def group_sizes(index, label):
    return Counter(record.group for record in index.records if record.label == label)


def nearest_total_slowly(sizes, wish):
    """Total of a subset, neither empty nor whole, that is nearest to a wish; the larger of two."""
    subsets = (c for n in range(1, len(sizes)) for c in combinations(sizes, n))
    return min({sum(c) for c in subsets}, key=lambda s: (abs(s - wish), -s), default=0)


def test_the_held_out_groups_of_a_class_are_nearest_to_the_share(keep):
    for seed in range(60):
        rng = random.Random(seed)
        records = tuple(
            VideoRecord(f"{n}.avi", min(rng.randrange(8), 5), "toy", str(rng.randrange(9) ** 2))
            for n in range(rng.randrange(60))
        )
        index = keep(VideoIndex(records, tuple("abcdefgh"), Path("/"), "toy", "train"))
        fraction = rng.uniform(0.01, 0.99)
        pair = hold_out_groups(index, fraction=fraction, seed=seed)
        for label in range(index.num_classes):
            train, held = (group_sizes(own, label) for own in pair)
            assert not train.keys() & held.keys()
            sizes = list((train + held).values())
            wish = fraction * sum(sizes)
            assert held.total() == nearest_total_slowly(sizes, wish), (seed, label)


def test_the_choice_does_not_depend_on_the_order_of_the_videos(keep):
    index = make_large_index()
    held = hold_out_groups(keep(index), fraction=0.2, seed=0)[1]
    mixed = replace(index, records=tuple(random.Random(0).sample(index.records, 700)))
    again = hold_out_groups(keep(mixed), fraction=0.2, seed=0)[1]
    assert {r.path for r in held.records} == {r.path for r in again.records}


def make_uneven_index(*sizes):
    records = tuple(
        VideoRecord(f"a/{g}_{n}.avi", 0, "toy", f"g{g}")
        for g, size in enumerate(sizes)
        for n in range(size)
    )
    return VideoIndex(records, ("a",), Path("/v"), "toy", "train.csv")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("sizes", "fraction", "num_held"),
    [((36, 4), 0.15, 4), ((36, 4), 0.2, 4), ((5, 3, 3, 29), 0.15, 6), ((30, 30), 0.15, 30)],
)
def test_a_large_group_is_not_held_out_where_smaller_ones_do(sizes, fraction, seed, num_held):
    index = make_uneven_index(*sizes)
    assert len(hold_out_groups(index, fraction=fraction, seed=seed)[1]) == num_held


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((36, 4), r"4 of 40 videos (10 %) are held out of train.csv, wanted were 20 %"),
        ((20, 20), r"20 of 40 videos (50 %) are held out of train.csv, wanted were 20 %"),
        ((40,), r"0 of 40 videos (0 %) are held out of train.csv, wanted were 20 %"),
        ((10, 10, 10, 10), ""),
        ((7, 33), ""),
    ],
)
def test_a_share_that_groups_do_not_allow_is_warned_of_once(sizes, message, caplog):
    with caplog.at_level(logging.WARNING):
        hold_out_groups(make_uneven_index(*sizes), fraction=0.2, seed=0)
    assert len(caplog.messages) == bool(message)
    assert message in caplog.text
    assert ("GROUP_PATTERN sets what in a path" in caplog.text) == bool(message)


def test_held_out_groups_are_whole_and_the_parts_cover_the_index():
    index = make_index()
    train, validation = hold_out_groups(index, fraction=0.3, seed=0)
    train_groups = {(r.label, r.group) for r in train.records}
    validation_groups = {(r.label, r.group) for r in validation.records}
    assert not train_groups & validation_groups
    assert sorted(r.path for r in train.records + validation.records) == sorted(
        r.path for r in index.records
    )
    # 0.3 of 20 videos is 6: one group of 4 and two of them are equally near.
    assert [sum(r.label == k for r in validation.records) for k in range(3)] == [8, 8, 8]


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_every_class_keeps_a_training_group_and_gives_one(fraction):
    train, validation = hold_out_groups(make_index(num_groups=2), fraction=fraction, seed=1)
    assert {r.label for r in train.records} == {r.label for r in validation.records} == {0, 1, 2}


def test_a_source_that_several_classes_share_is_held_out_of_all_of_them():
    index = make_index(num_groups=12)
    train, validation = hold_out_groups(index, fraction=0.3, seed=0)
    assert not {r.group for r in train.records} & {r.group for r in validation.records}


def test_the_choice_depends_on_the_seed_alone():
    index = make_index(num_groups=12)
    first, again, other = (hold_out_groups(index, fraction=0.3, seed=s)[1] for s in (0, 0, 1))
    assert first == again
    assert first != other


def test_classes_with_one_group_stay_in_training_with_one_warning(caplog):
    with caplog.at_level(logging.WARNING):
        train, validation = hold_out_groups(make_index(num_groups=1), fraction=0.5, seed=0)
    assert (len(train), len(validation)) == (12, 0)
    (message,) = caplog.messages
    assert "of class 'a' 0 of 4 videos are held out, it has 1 groups, the largest of 4" in message


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_the_fraction_must_be_inside_zero_and_one(fraction):
    with pytest.raises(InputError, match=rf"inside \(0, 1\), got {fraction}"):
        hold_out_groups(make_index(), fraction=fraction, seed=0)
