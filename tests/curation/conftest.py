"""Splits of datasets without any file: records and what was found in them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from videokd.curation.examine import VideoReport
from videokd.curation.findings import CheckedSplit
from videokd.data.lists.index import VideoIndex, VideoRecord

CLASS_NAMES = ("run", "sit", "wave")


def _make_split(
    split,
    videos,
    *,
    dataset="A",
    format="ucf101",
    split_number=1,
    class_names=CLASS_NAMES,
    missing=(),
    mirror_labels=(),
):
    fine = VideoReport(num_frames=50, fps=25.0, width=320, height=240, num_bytes=2**20)
    records, reports = [], []
    for number, (path, label, group, changes) in enumerate(videos):
        records.append(VideoRecord(path, label, dataset, group))
        own = {"sha256": f"{dataset}{split}{number}", **changes}
        reports.append(replace(fine, **own))
    index = VideoIndex(
        tuple(records), class_names, Path("/videos"), dataset, split, missing, mirror_labels
    )
    return CheckedSplit(dataset, split, format, split_number, index, tuple(reports))


@pytest.fixture
def make_split() -> Callable[..., CheckedSplit]:
    """make_split("train", [(path, label, group, {field of its report: value}), ...])."""
    return _make_split


@pytest.fixture
def fill() -> Callable[..., list]:
    """fill("a", labels=3, num=6): so many videos of every class, each with a group of its own."""

    def make(prefix, *, labels=3, num=6, **changes):
        places = [(label, n) for label in range(labels) for n in range(num)]
        return [(f"{prefix}/{k}_{n}.avi", k, f"{prefix}{n}", changes) for k, n in places]

    return make
