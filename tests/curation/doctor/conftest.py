"""Parts of datasets without any file: records and what was found in them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from videokd.curation.doctor import CheckedPart, VideoReport
from videokd.data.lists.index import VideoIndex, VideoRecord

CLASS_NAMES = ("run", "sit", "wave")


def _make_part(
    part,
    videos,
    *,
    dataset="A",
    format="ucf101",
    split=1,
    class_names=CLASS_NAMES,
    missing=(),
    mirror_labels=(),
):
    fine = VideoReport(num_frames=50, fps=25.0, width=320, height=240, num_bytes=2**20)
    records, reports = [], []
    for number, (path, label, group, changes) in enumerate(videos):
        records.append(VideoRecord(path, label, dataset, group))
        own = {"sha256": f"{dataset}{part}{number}", **changes}
        reports.append(replace(fine, **own))
    index = VideoIndex(
        tuple(records), class_names, Path("/videos"), dataset, part, missing, mirror_labels
    )
    return CheckedPart(dataset, part, format, split, index, tuple(reports))


@pytest.fixture
def make_part() -> Callable[..., CheckedPart]:
    """make_part("train", [(path, label, group, {field of its report: value}), ...])."""
    return _make_part


@pytest.fixture
def fill() -> Callable[..., list]:
    """fill("a", labels=3, num=6): so many videos of every class, each with a group of its own."""

    def make(prefix, *, labels=3, num=6, **changes):
        places = [(label, n) for label in range(labels) for n in range(num)]
        return [(f"{prefix}/{k}_{n}.avi", k, f"{prefix}{n}", changes) for k, n in places]

    return make
