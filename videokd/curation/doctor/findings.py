"""Problems across files: duplicate contents, shared groups, classes, counts and odd sizes."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from videokd.curation.doctor.examine import VideoReport
from videokd.data.lists.formats.listing import normal_form
from videokd.data.lists.index import VideoIndex, VideoRecord

_MIN_VIDEOS_PER_CLASS = 5
# A video in two parts is dropped from the earlier part.
_PARTS = ("train", "val", "test")
# If at least this share of a part has one frame size, other sizes are reported as odd.
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
    "leak": Kind("same content in two parts", is_bad=True, drops=True),
    "contradiction": Kind("same content, another label", is_bad=True, drops=True),
    "shared group": Kind("groups in train and another part", is_bad=True),
    "class names": Kind("class names that collide", is_bad=True),
    "no video": Kind("classes that cannot be learnt: no usable video", is_bad=True),
    "counts": Kind("not the published counts", is_bad=True),
    "possible group": Kind("perhaps of one source in train and another part"),
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
        part: "train", "val" or "test"; "" if it concerns several parts.
        text: Short description.
        path: Path of the video, if it concerns one; "" otherwise.
    """

    kind: str
    dataset: str
    part: str
    text: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class CheckedPart:
    """One part of a dataset with a report of every video.

    Args:
        dataset: Name of the dataset.
        part: "train", "val" or "test".
        format: Format of its lists, e.g. "ucf101".
        split: 1, 2 or 3, for formats with several splits.
        index: The videos.
        reports: Reports of the videos, in the order of the index.
    """

    dataset: str
    part: str
    format: str
    split: int
    index: VideoIndex
    reports: tuple[VideoReport, ...]

    @property
    def title(self) -> str:
        """Title in tables and messages."""
        return f"{self.dataset} {self.part}"

    def pairs(self) -> Iterator[tuple[VideoRecord, VideoReport]]:
        """Return an iterator over (record, report) pairs."""
        return zip(self.index.records, self.reports, strict=True)

    def usable(self) -> list[tuple[VideoRecord, VideoReport]]:
        """Return the (record, report) pairs without a problem."""
        return [(record, report) for record, report in self.pairs() if not report.problem]


def find_all(
    parts: Sequence[CheckedPart], *, num_clip_frames: int = 0, short_side: int = 0
) -> list[Finding]:
    """Return all findings from comparing the videos of all parts and the published counts.

    Args:
        parts: Train, test and optionally val parts of one or several datasets.
        num_clip_frames: Source frames that a clip spans; 0 without a config.
        short_side: Pixels that training scales the short side to; 0 without a config.
    """
    findings = list(_find_same_contents(parts))
    for part in parts:
        findings += _find_thin_classes(part)
        findings += _find_odd_shapes(part, num_clip_frames, short_side)
    for dataset in dict.fromkeys(part.dataset for part in parts):
        own = {part.part: part for part in parts if part.dataset == dataset}
        for other in _PARTS[1:]:
            if other in own:
                findings += _find_shared_groups(own["train"], own[other])
        findings += _find_colliding_names(own["train"])
        findings += _compare_with_published(own["train"], own["test"])
    return findings


def _find_same_contents(parts: Sequence[CheckedPart]) -> Iterator[Finding]:
    places: dict[str, list[tuple[CheckedPart, VideoRecord]]] = defaultdict(list)
    for part in parts:
        for record, report in part.pairs():
            if report.sha256:
                places[report.sha256].append((part, record))
    for copies in places.values():
        if len(copies) > 1:
            yield from _judge_copies(copies)


def _judge_copies(copies: Sequence[tuple[CheckedPart, VideoRecord]]) -> Iterator[Finding]:
    labels = defaultdict(set)
    for part, record in copies:
        labels[part.dataset].add(record.label)
    for number, (part, record) in enumerate(copies):
        others = [copy for copy in copies if copy[1] is not record]
        rank = _PARTS.index(part.part)
        tested = [copy for copy in copies if _PARTS.index(copy[0].part) > rank]
        if len(labels[part.dataset]) > 1:
            kind = "contradiction"
            others = [
                copy
                for copy in others
                if copy[0].dataset == part.dataset and copy[1].label != record.label
            ]
        elif tested:
            kind, others = "leak", tested
        elif number > 0 and part.part == copies[number - 1][0].part:
            kind, others = "duplicate", [copies[number - 1]]
        else:
            continue
        other, twin = others[0]
        name = other.index.class_names[twin.label]
        text = f"same content as {twin.path} ({other.title}, {name})"
        yield Finding(kind, part.dataset, part.part, text, record.path)


def _find_thin_classes(part: CheckedPart) -> Iterator[Finding]:
    counts = Counter(record.label for record, _ in part.usable())
    for label, name in enumerate(part.index.class_names):
        if counts[label] == 0:
            kind = "no video" if part.part == "train" else "not tested"
            yield Finding(kind, part.dataset, part.part, name)
        elif counts[label] < _MIN_VIDEOS_PER_CLASS and part.part == "train":
            text = f"{name}: {counts[label]}"
            yield Finding("few videos", part.dataset, part.part, text)


def _find_odd_shapes(part: CheckedPart, num_clip_frames: int, short_side: int) -> Iterator[Finding]:
    sizes = Counter((report.width, report.height) for _, report in part.usable())
    common, count = sizes.most_common(1)[0] if sizes else ((0, 0), 0)
    is_uniform = count >= _COMMON_SIZE_SHARE * sizes.total()
    for record, report in part.usable():
        size = f"{report.width}x{report.height}"
        place = (part.dataset, part.part)
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


def _find_shared_groups(train: CheckedPart, other: CheckedPart) -> Iterator[Finding]:
    groups = [Counter((r.label, r.group) for r in part.index.records) for part in (train, other)]
    # Other formats only guess groups from file names.
    kind = "shared group" if train.format in _FORMATS_WITH_GROUPS else "possible group"
    for label, group in sorted(groups[0].keys() & groups[1].keys()):
        name = train.index.class_names[label]
        counts = [part_groups[label, group] for part_groups in groups]
        text = f"{group} of {name}: {counts[0]} videos in train, {counts[1]} in {other.part}"
        yield Finding(kind, train.dataset, "", text)


def _find_colliding_names(train: CheckedPart) -> Iterator[Finding]:
    spelled: dict[str, str] = {}
    for name in train.index.class_names:
        other = spelled.setdefault(normal_form(name), name)
        if other != name:
            text = f"{other!r} and {name!r} differ only in spelling"
            yield Finding("class names", train.dataset, "", text)


def _compare_with_published(train: CheckedPart, test: CheckedPart) -> Iterator[Finding]:
    if train.format not in _PUBLISHED:
        return
    num_classes, splits = _PUBLISHED[train.format]
    if train.index.num_classes != num_classes:
        text = f"{train.index.num_classes} classes, {train.format} has {num_classes}"
        yield Finding("other dataset", train.dataset, "", text)
        return
    for part, published in zip((train, test), splits[train.split - 1], strict=True):
        num_listed = len(part.index) + len(part.index.missing)
        if num_listed != published:
            text = f"{num_listed} videos listed, split {train.split} has {published}"
            yield Finding("counts", part.dataset, part.part, text)
