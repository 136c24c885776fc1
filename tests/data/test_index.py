import hashlib
import logging
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from videokd.data.index import RecordTable, VideoIndex, VideoRecord, hold_out_groups
from videokd.utils.errors import InputError


@pytest.fixture(params=[tuple, RecordTable.from_rows], ids=["tuple", "table"])
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
    for kept in (records, RecordTable.from_rows(records)):
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
    monkeypatch.setattr("videokd.data.index._NUM_ROWS_PER_TEXT", 10)
    assert keep(make()).digest() == digest


def test_what_was_found_in_the_files_does_not_enter_the_digest(keep):
    index = make_index()
    scanned = [replace(r, num_frames=9, fps=25.0, cause="empty file") for r in index.records]
    assert keep(replace(index, records=tuple(scanned))).digest() == index.digest()


@pytest.mark.parametrize(
    ("make", "fraction", "seed", "num_held", "train", "held_out"),
    [
        (make_large_index, 0.2, 0, 162, "316659f0a59efca5", "988485505fef0206"),
        (make_large_index, 0.2, 1, 161, "9d5b0390e2c541f6", "43395153ca228a41"),
        (make_odd_index, 0.3, 0, 17, "5b6933ac7e1629db", "f736a5a5beb9b508"),
        (make_odd_index, 0.3, 1, 25, "f736a5a5beb9b508", "5b6933ac7e1629db"),
    ],
)
def test_the_held_out_videos_are_those_that_runs_were_stored_with(
    make, fraction, seed, num_held, train, held_out, keep
):
    parts = hold_out_groups(keep(make()), fraction=fraction, seed=seed)
    assert len(parts[1]) == num_held
    assert [part.digest()[:16] for part in parts] == [train, held_out]


def test_nothing_is_held_out_of_nothing(keep):
    train, validation = hold_out_groups(keep(make_index(num_groups=0)), fraction=0.5, seed=0)
    assert (len(train), len(validation)) == (0, 0)


def choose_groups_slowly(index, fraction, seed):
    names = sorted({record.group for record in index.records})
    order = [names[n] for n in np.random.default_rng(seed).permutation(len(names))]
    chosen = set()
    for label in range(index.num_classes):
        own = [record.group for record in index.records if record.label == label]
        num_held = 0
        for group in [group for group in order if group in own][:-1]:
            if num_held < fraction * len(own):
                chosen.add((label, group))
                num_held += own.count(group)
    return [record.path for record in index.records if (record.label, record.group) in chosen]


def test_the_choice_is_that_of_a_loop_over_classes_and_groups(keep):
    for seed in range(30):
        rng = random.Random(seed)
        records = tuple(
            VideoRecord(f"{n}.avi", min(rng.randrange(8), 5), "toy", str(rng.randrange(12) ** 2))
            for n in range(rng.randrange(60))
        )
        index = keep(VideoIndex(records, tuple("abcdefgh"), Path("/"), "toy", "train"))
        fraction = rng.uniform(0.01, 0.99)
        _, validation = hold_out_groups(index, fraction=fraction, seed=seed)
        assert [r.path for r in validation.records] == choose_groups_slowly(index, fraction, seed)


def test_held_out_groups_are_whole_and_the_parts_cover_the_index():
    index = make_index()
    train, validation = hold_out_groups(index, fraction=0.3, seed=0)
    train_groups = {(r.label, r.group) for r in train.records}
    validation_groups = {(r.label, r.group) for r in validation.records}
    assert not train_groups & validation_groups
    assert sorted(r.path for r in train.records + validation.records) == sorted(
        r.path for r in index.records
    )
    # 0.3 of 20 videos is 6, two groups of 4 reach it.
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


def test_a_class_with_one_group_stays_in_training_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        train, validation = hold_out_groups(make_index(num_groups=1), fraction=0.5, seed=0)
    assert (len(train), len(validation)) == (12, 0)
    assert "class 'a' has a single group" in caplog.text


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_the_fraction_must_be_inside_zero_and_one(fraction):
    with pytest.raises(InputError, match=rf"inside \(0, 1\), got {fraction}"):
        hold_out_groups(make_index(), fraction=fraction, seed=0)
