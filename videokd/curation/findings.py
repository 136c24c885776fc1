"""Problems across files: duplicate contents, shared groups, classes, counts and odd sizes."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from videokd.curation.examine import VideoReport
from videokd.data.lists.formats.listing import normal_form
from videokd.data.lists.index import VideoIndex, VideoRecord

_MIN_VIDEOS_PER_CLASS = 5
# A video in two splits is dropped from the earlier split.
_SPLITS = ("train", "val", "test")
# If at least this share of a split has one frame size, other sizes are reported as odd.
_COMMON_SIZE_SHARE = 0.9
_FORMATS_WITH_GROUPS = ("ucf101", "hmdb51", "kinetics")
# format -> (classes, (train, test) of splits 1 to 3). UCF101: Soomro et al. 2012; HMDB51: Kuehne et
# al. 2011. The counts are from the official split lists.
_PUBLISHED = {
    "ucf101": (101, ((9537, 3783), (9586, 3734), (9624, 3696))),
    "hmdb51": (51, ((3570, 1530), (3570, 1530), (3570, 1530))),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding.

    Args:
        title: Title in tables.
        is_bad: Whether a dataset with such a finding is not in order.
        drops: Whether the video is left out of the cleaned lists.
    """

    title: str
    is_bad: bool = False
    drops: bool = False


KINDS = {
    "leak": Kind("same content in two splits", is_bad=True, drops=True),
    "contradiction": Kind("same content, another label", is_bad=True, drops=True),
    "shared group": Kind("groups in train and another split", is_bad=True),
    "class names": Kind("class names that collide", is_bad=True),
    "no video": Kind("classes that cannot be learnt: no usable video", is_bad=True),
    "counts": Kind("not the published counts", is_bad=True),
    "possible group": Kind("perhaps of one source in train and another split"),
    "duplicate": Kind("same content twice"),
    "not tested": Kind("classes without a video to test"),
    "few videos": Kind(f"classes with fewer than {_MIN_VIDEOS_PER_CLASS} videos"),
    "other dataset": Kind("not the published classes"),
    "several streams": Kind("with several video streams"),
    "small": Kind("smaller than DATA.SHORT_SIDE"),
    "brief": Kind("shorter than a clip"),
    "odd size": Kind("of another size than most"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A single finding.

    Args:
        kind: Key of KINDS.
        dataset: Name of the dataset.
        split: "train", "val" or "test"; "" if it concerns several splits.
        text: Short description.
        path: Path of the video, if it concerns one; "" otherwise.
    """

    kind: str
    dataset: str
    split: str
    text: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class CheckedSplit:
    """One split of a dataset with a report of every video.

    Args:
        dataset: Name of the dataset.
        name: "train", "val" or "test".
        format: Format of its lists, e.g. "ucf101".
        split_number: 1, 2 or 3, for formats with several official splits.
        index: The videos.
        reports: Reports of the videos, in the order of the index.
    """

    dataset: str
    name: str
    format: str
    split_number: int
    index: VideoIndex
    reports: tuple[VideoReport, ...]

    @property
    def title(self) -> str:
        """Title in tables and messages."""
        return f"{self.dataset} {self.name}"

    def pairs(self) -> Iterator[tuple[VideoRecord, VideoReport]]:
        """Return an iterator over (record, report) pairs."""
        return zip(self.index.records, self.reports, strict=True)

    def usable(self) -> list[tuple[VideoRecord, VideoReport]]:
        """Return the (record, report) pairs without a problem."""
        return [(record, report) for record, report in self.pairs() if not report.problem]


def find_all(
    splits: Sequence[CheckedSplit], *, num_clip_frames: int = 0, short_side: int = 0
) -> list[Finding]:
    """Return all findings from comparing the videos of all splits and the published counts.

    Args:
        splits: Train, test and optionally val splits of one or several datasets.
        num_clip_frames: Source frames that a clip spans; 0 without a config.
        short_side: Pixels that training scales the short side to; 0 without a config.
    """
    findings = list(_find_same_contents(splits))
    for split in splits:
        findings += _find_thin_classes(split)
        findings += _find_odd_shapes(split, num_clip_frames, short_side)
    for dataset in dict.fromkeys(split.dataset for split in splits):
        own = {split.name: split for split in splits if split.dataset == dataset}
        for other in _SPLITS[1:]:
            if other in own:
                findings += _find_shared_groups(own["train"], own[other])
        findings += _find_colliding_names(own["train"])
        findings += _compare_with_published(own["train"], own["test"])
    return findings


def _find_same_contents(splits: Sequence[CheckedSplit]) -> Iterator[Finding]:
    places: dict[str, list[tuple[CheckedSplit, VideoRecord]]] = defaultdict(list)
    for split in splits:
        for record, report in split.pairs():
            if report.sha256:
                places[report.sha256].append((split, record))
    for copies in places.values():
        if len(copies) > 1:
            yield from _judge_copies(copies)


def _judge_copies(copies: Sequence[tuple[CheckedSplit, VideoRecord]]) -> Iterator[Finding]:
    labels = defaultdict(set)
    for split, record in copies:
        labels[split.dataset].add(record.label)
    for number, (split, record) in enumerate(copies):
        others = [copy for copy in copies if copy[1] is not record]
        rank = _SPLITS.index(split.name)
        tested = [copy for copy in copies if _SPLITS.index(copy[0].name) > rank]
        if len(labels[split.dataset]) > 1:
            kind = "contradiction"
            others = [
                copy
                for copy in others
                if copy[0].dataset == split.dataset and copy[1].label != record.label
            ]
        elif tested:
            kind, others = "leak", tested
        elif number > 0 and split.name == copies[number - 1][0].name:
            kind, others = "duplicate", [copies[number - 1]]
        else:
            continue
        other, twin = others[0]
        name = other.index.class_names[twin.label]
        text = f"same content as {twin.path} ({other.title}, {name})"
        yield Finding(kind, split.dataset, split.name, text, record.path)


def _find_thin_classes(split: CheckedSplit) -> Iterator[Finding]:
    counts = Counter(record.label for record, _ in split.usable())
    for label, name in enumerate(split.index.class_names):
        if counts[label] == 0:
            kind = "no video" if split.name == "train" else "not tested"
            yield Finding(kind, split.dataset, split.name, name)
        elif counts[label] < _MIN_VIDEOS_PER_CLASS and split.name == "train":
            text = f"{name}: {counts[label]}"
            yield Finding("few videos", split.dataset, split.name, text)


def _find_odd_shapes(
    split: CheckedSplit, num_clip_frames: int, short_side: int
) -> Iterator[Finding]:
    sizes = Counter((report.width, report.height) for _, report in split.usable())
    common, count = sizes.most_common(1)[0] if sizes else ((0, 0), 0)
    is_uniform = count >= _COMMON_SIZE_SHARE * sizes.total()
    for record, report in split.usable():
        size = f"{report.width}x{report.height}"
        place = (split.dataset, split.name)
        if report.streams:
            yield Finding("several streams", *place, report.streams, record.path)
        if min(report.width, report.height) < short_side:
            yield Finding("small", *place, f"{size}, scaled up to {short_side}", record.path)
        if report.num_frames < num_clip_frames:
            text = f"{report.num_frames} frames, a clip spans {num_clip_frames}"
            yield Finding("brief", *place, text, record.path)
        if is_uniform and (report.width, report.height) != common:
            text = f"{size}, most are {common[0]}x{common[1]}"
            yield Finding("odd size", *place, text, record.path)


def _find_shared_groups(train: CheckedSplit, other: CheckedSplit) -> Iterator[Finding]:
    groups = [Counter((r.label, r.group) for r in split.index.records) for split in (train, other)]
    # Other formats only guess groups from file names.
    kind = "shared group" if train.format in _FORMATS_WITH_GROUPS else "possible group"
    for label, group in sorted(groups[0].keys() & groups[1].keys()):
        name = train.index.class_names[label]
        counts = [split_groups[label, group] for split_groups in groups]
        text = f"{group} of {name}: {counts[0]} videos in train, {counts[1]} in {other.name}"
        yield Finding(kind, train.dataset, "", text)


def _find_colliding_names(train: CheckedSplit) -> Iterator[Finding]:
    spelled: dict[str, str] = {}
    for name in train.index.class_names:
        other = spelled.setdefault(normal_form(name), name)
        if other != name:
            text = f"{other!r} and {name!r} differ only in spelling"
            yield Finding("class names", train.dataset, "", text)


def _compare_with_published(train: CheckedSplit, test: CheckedSplit) -> Iterator[Finding]:
    if train.format not in _PUBLISHED:
        return
    num_classes, official = _PUBLISHED[train.format]
    if train.index.num_classes != num_classes:
        text = f"{train.index.num_classes} classes, {train.format} has {num_classes}"
        yield Finding("other dataset", train.dataset, "", text)
        return
    for split, published in zip((train, test), official[train.split_number - 1], strict=True):
        num_listed = len(split.index) + len(split.index.missing)
        if num_listed != published:
            text = f"{num_listed} videos listed, split {train.split_number} has {published}"
            yield Finding("counts", split.dataset, split.name, text)
