import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from videokd.data.index import VideoIndex, VideoRecord, hold_out_groups
from videokd.utils.errors import InputError


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
    records = (VideoRecord("a/b.avi", label, "toy", "g"),)
    message = rf"record 0 \(a/b.avi\) has label {label}, allowed are 0 .. 2"
    with pytest.raises(InputError, match=message):
        VideoIndex(records, ("a", "b", "c"), Path("/"), "toy", "train")


def test_digest_changes_with_records_and_names_but_not_with_the_root():
    index = make_index()
    assert index.digest() == make_index().digest()
    assert index.digest() == replace(index, root=Path("/elsewhere")).digest()
    assert index.digest() != replace(index, records=index.records[:-1]).digest()
    assert index.digest() != replace(index, class_names=("a", "b", "d")).digest()


def test_digest_hashes_a_text_that_is_the_same_in_every_run():
    text = b'[["a"],[["c0/g0_0.avi",0,"toy","g0"]]]'
    assert make_index(1, 1, 1).digest() == hashlib.sha256(text).hexdigest()


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
