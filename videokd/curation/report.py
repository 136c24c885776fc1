"""Result of a check, and its files: report.md, report.json, bad_videos.csv and cleaned lists.

The cleaned lists have the format `list`, so that a config can use them: lists/<dataset>/ holds
train.csv, test.csv and optionally val.csv, with the columns path, label and group, and classes.txt.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from videokd.curation.examine import PROBLEMS, VideoReport
from videokd.curation.findings import KINDS, CheckedSplit, Finding
from videokd.data.lists.index import VideoRecord
from videokd.utils.io import atomic_write_bytes, write_csv, write_json
from videokd.utils.paths import escape_path

_NUM_EXAMPLES = 10
_NUM_COMMON = 3


@dataclass(frozen=True, slots=True)
class ExcludedVideo:
    """A video that is left out of the cleaned lists.

    Args:
        dataset: Name of the dataset.
        split: "train", "val" or "test".
        path: Path in its list.
        problem: One of PROBLEMS, or a key of KINDS.
        cause: Short description.
    """

    dataset: str
    split: str
    path: str
    problem: str
    cause: str


@dataclass(frozen=True)
class CheckResult:
    """All results of a check.

    Args:
        splits: Train, test and optionally val split of each dataset.
        findings: Findings from `find_all`.
    """

    splits: tuple[CheckedSplit, ...]
    findings: tuple[Finding, ...]

    @cached_property
    def bad_videos(self) -> tuple[ExcludedVideo, ...]:
        """Videos left out of the cleaned lists, each video once."""
        dropped = {
            (f.dataset, f.split, f.path): f for f in reversed(self.findings) if KINDS[f.kind].drops
        }
        bad: list[ExcludedVideo] = []
        for split in self.splits:
            place = (split.dataset, split.name)
            absent = split.index.missing
            bad += [ExcludedVideo(*place, p, "missing", "listed, not there") for p in absent]
            for record, report in split.pairs():
                finding = dropped.get((*place, record.path))
                if report.problem:
                    bad.append(ExcludedVideo(*place, record.path, report.problem, report.cause))
                elif finding is not None:
                    bad.append(ExcludedVideo(*place, record.path, finding.kind, finding.text))
        return tuple(bad)

    @property
    def is_ok(self) -> bool:
        """Whether every listed video is usable and no finding is bad."""
        return not self.bad_videos and not any(KINDS[f.kind].is_bad for f in self.findings)

    def count_problems(self, split: CheckedSplit) -> Counter[str]:
        """Count the bad videos of a split by problem."""
        return Counter(b.problem for b in self.bad_videos if _is_of(b, split))

    def count_findings(self, split: CheckedSplit) -> Counter[str]:
        """Count the findings about a split by kind."""
        return Counter(f.kind for f in self.findings if _is_of(f, split))

    def cleaned(self, split: CheckedSplit) -> list[VideoRecord]:
        """Return the records of a split without bad videos."""
        bad = {b.path for b in self.bad_videos if _is_of(b, split)}
        return [record for record in split.index.records if record.path not in bad]


def _is_of(item: ExcludedVideo | Finding, split: CheckedSplit) -> bool:
    return (item.dataset, item.split) == (split.dataset, split.name)


def summarise(result: CheckResult) -> str:
    """Return a one-line summary of whether the data is in order."""
    num_listed = sum(len(split.index) + len(split.index.missing) for split in result.splits)
    if result.is_ok:
        return f"ok: every frame of {num_listed} videos decodes"
    problems = Counter(bad.problem for bad in result.bad_videos)
    # Kinds that drop videos are already counted among the bad videos.
    others = Counter(
        f.kind for f in result.findings if KINDS[f.kind].is_bad and not KINDS[f.kind].drops
    )
    counts = [f"{n} {title_of(kind)}" for kind, n in (problems + others).most_common()]
    return f"not ok: {problems.total()} bad of {num_listed} videos ({', '.join(counts)})"


def title_of(problem: str) -> str:
    """Return the title of a problem or kind of finding in tables."""
    return KINDS[problem].title if problem in KINDS else problem


def write_report(folder: Path, result: CheckResult) -> None:
    """Write all files of a check.

    Args:
        folder: Output folder; files of an earlier check in it are replaced.
        result: Result of the check.
    """
    columns = ("path", "cause", "problem", "dataset", "split")
    rows = [[getattr(bad, column) for column in columns] for bad in result.bad_videos]
    write_csv(folder / "bad_videos.csv", columns, rows)
    for old in (folder / "lists").glob("*/*.csv"):
        old.unlink()
    for split in result.splits:
        listed = [(r.path, str(r.label), r.group) for r in result.cleaned(split)]
        lists = folder / "lists" / split.dataset
        write_csv(lists / f"{split.name}.csv", ("path", "label", "group"), listed)
        _write_text(lists / "classes.txt", "\n".join(split.index.class_names) + "\n")
    write_json(folder / "report.json", _to_json(result))
    _write_text(folder / "report.md", "\n".join(_format_report(folder, result)) + "\n")


def _to_json(result: CheckResult) -> dict[str, Any]:
    splits = [
        {
            "dataset": split.dataset,
            "split": split.name,
            "root": str(split.index.root),
            "listed": len(split.index) + len(split.index.missing),
            "usable": len(split.usable()),
            "cleaned": len(result.cleaned(split)),
            "problems": dict(result.count_problems(split)),
        }
        for split in result.splits
    ]
    return {
        "is_ok": result.is_ok,
        "splits": splits,
        "bad_videos": [asdict(bad) for bad in result.bad_videos],
        "findings": [{**asdict(f), "is_bad": KINDS[f.kind].is_bad} for f in result.findings],
    }


def _format_report(folder: Path, result: CheckResult) -> Iterator[str]:
    yield from ("# Check of the videos", "", f"**{summarise(result)}**", "")
    yield from _format_counts(result)
    yield from _format_details(result)
    yield from ("## The videos", "")
    yield from _format_shapes(result.splits)
    if result.bad_videos:
        yield from _format_use(folder, result)


def _format_use(folder: Path, result: CheckResult) -> Iterator[str]:
    nodes = {p.dataset: _node_of_list(folder, p) for p in result.splits if p.name == "train"}
    yield from ("## Use what is left", "")
    yield "lists/ has the videos without those of bad_videos.csv. In the config:"
    yield from ("", "```yaml")
    yield yaml.safe_dump({"DATASETS": nodes}, sort_keys=False, allow_unicode=True).rstrip()
    yield "```"


def _node_of_list(folder: Path, split: CheckedSplit) -> dict[str, Any]:
    """Return the config node of a dataset that is read from its cleaned list."""
    index = split.index
    node: dict[str, Any] = {
        "FORMAT": "list",
        "ROOT": escape_path(str(index.root.absolute())),
        "ANNOTATIONS": escape_path(str(folder.absolute() / "lists" / split.dataset)),
    }
    if index.mirror_labels is None:
        node["FLIP"] = "off"
    elif index.mirror_labels:
        pairs = [(k, other) for k, other in enumerate(index.mirror_labels) if k < other]
        node["LEFT_RIGHT_PAIRS"] = [[index.class_names[k] for k in pair] for pair in pairs]
    return node


def _format_counts(result: CheckResult) -> Iterator[str]:
    """Yield the lines of the summary table, with one column per split."""
    splits = result.splits
    problems = [result.count_problems(split) for split in splits]
    findings = [result.count_findings(split) for split in splits]
    rows: list[tuple[str, Sequence[int]]] = [
        ("listed", [len(split.index) + len(split.index.missing) for split in splits]),
        *((problem, [count[problem] for count in problems]) for problem in PROBLEMS),
    ]
    for kind in KINDS:
        # Kinds that drop videos are counted among the bad videos, which have one problem each.
        numbers = [count[kind] for count in (problems if KINDS[kind].drops else findings)]
        if any(numbers):
            prefix = "" if KINDS[kind].is_bad else "note: "
            rows.append((prefix + title_of(kind), numbers))
    rows.append(("**in the cleaned list**", [len(result.cleaned(split)) for split in splits]))
    yield from _format_table(["videos", *(split.title for split in splits)], rows)


def _format_details(result: CheckResult) -> Iterator[str]:
    """Yield the first few bad videos and findings of each kind, bad kinds first."""
    for problem in (*PROBLEMS, *(kind for kind in KINDS if KINDS[kind].drops)):
        bad = [b for b in result.bad_videos if b.problem == problem]
        lines = [f"`{b.path}` ({b.dataset} {b.split}): {b.cause}" for b in bad]
        yield from _format_section(title_of(problem), lines)
    for kind in sorted(KINDS, key=lambda kind: not KINDS[kind].is_bad):
        found = [f for f in result.findings if f.kind == kind and not KINDS[kind].drops]
        lines = []
        for f in found:
            place = f"{f.dataset} {f.split}".strip()
            lines.append(f"`{f.path}` ({place}): {f.text}" if f.path else f"{place}: {f.text}")
        prefix = "" if KINDS[kind].is_bad else "Note: "
        yield from _format_section(prefix + title_of(kind), lines)


def _format_section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        return
    yield from (f"## {title[0].upper()}{title[1:]} ({len(lines)})", "")
    yield from (f"- {line}" for line in lines[:_NUM_EXAMPLES])
    if len(lines) > _NUM_EXAMPLES:
        yield f"- ... {len(lines) - _NUM_EXAMPLES} more in report.json"
    yield ""


def _format_shapes(splits: Sequence[CheckedSplit]) -> Iterator[str]:
    reports = [[report for _, report in split.usable()] for split in splits]
    rows = [
        ("width x height", [_name_common(f"{r.width}x{r.height}" for r in own) for own in reports]),
        ("frames per second", [_name_common(f"{r.fps:.5g}" for r in own) for own in reports]),
        ("frames: least, median, most", [_format_range(own) for own in reports]),
        (
            "container codec",
            [_name_common(f"{r.container} {r.codec}" for r in own) for own in reports],
        ),
        ("MiB", [f"{sum(r.num_bytes for r in own) / 2**20:.1f}" for own in reports]),
    ]
    yield from _format_table(["usable videos", *(split.title for split in splits)], rows)


def _name_common(values: Iterable[str]) -> str:
    counts = Counter(values)
    named = [f"{value} ({count})" for value, count in counts.most_common(_NUM_COMMON)]
    more = len(counts) - len(named)
    return ", ".join(named) + (f", {more} more" if more else "")


def _format_range(reports: Sequence[VideoReport]) -> str:
    numbers = [report.num_frames for report in reports]
    return f"{min(numbers)}, {median(numbers):g}, {max(numbers)}" if numbers else ""


def _format_table(
    head: Sequence[str], rows: Iterable[tuple[str, Sequence[object]]]
) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    for name, values in rows:
        yield f"| {name} | {' | '.join(map(str, values))} |"
    yield ""


def _write_text(path: Path, text: str) -> None:
    # File names may hold bytes that are not UTF-8; write them unchanged.
    atomic_write_bytes(path, text.encode("utf-8", "surrogateescape"))
