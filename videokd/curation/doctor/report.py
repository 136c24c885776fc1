"""Output files of a check: report.md, report.json, bad_videos.csv and cleaned lists.

The cleaned lists have the format `list`, so that a config can use them: lists/<dataset>/ holds
train.csv, test.csv and optionally val.csv, with the columns path, label and group, and classes.txt.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from videokd.curation.doctor.examine import PROBLEMS, VideoReport
from videokd.curation.doctor.findings import KINDS, CheckedPart
from videokd.curation.doctor.result import CheckResult, summarise, title_of
from videokd.utils.io import atomic_write_bytes, write_csv, write_json
from videokd.utils.paths import escape_path

_NUM_EXAMPLES = 10
_NUM_COMMON = 3


def write_report(folder: Path, result: CheckResult) -> None:
    """Write all files of a check.

    Args:
        folder: Output folder; files of an earlier check in it are replaced.
        result: Result of the check.
    """
    columns = ("path", "cause", "problem", "dataset", "part")
    rows = [[getattr(bad, column) for column in columns] for bad in result.bad_videos]
    write_csv(folder / "bad_videos.csv", columns, rows)
    for old in (folder / "lists").glob("*/*.csv"):
        old.unlink()
    for part in result.parts:
        listed = [(r.path, str(r.label), r.group) for r in result.cleaned(part)]
        lists = folder / "lists" / part.dataset
        write_csv(lists / f"{part.part}.csv", ("path", "label", "group"), listed)
        _write_text(lists / "classes.txt", "\n".join(part.index.class_names) + "\n")
    write_json(folder / "report.json", _to_json(result))
    _write_text(folder / "report.md", "\n".join(_format_report(folder, result)) + "\n")


def _to_json(result: CheckResult) -> dict[str, Any]:
    parts = [
        {
            "dataset": part.dataset,
            "part": part.part,
            "root": str(part.index.root),
            "listed": len(part.index) + len(part.index.missing),
            "usable": len(part.usable()),
            "cleaned": len(result.cleaned(part)),
            "problems": dict(result.count_problems(part)),
        }
        for part in result.parts
    ]
    return {
        "is_ok": result.is_ok,
        "parts": parts,
        "bad_videos": [asdict(bad) for bad in result.bad_videos],
        "findings": [{**asdict(f), "is_bad": KINDS[f.kind].is_bad} for f in result.findings],
    }


def _format_report(folder: Path, result: CheckResult) -> Iterator[str]:
    yield from ("# Check of the videos", "", f"**{summarise(result)}**", "")
    yield from _format_counts(result)
    yield from _format_details(result)
    yield from ("## The videos", "")
    yield from _format_shapes(result.parts)
    if result.bad_videos:
        yield from _format_use(folder, result)


def _format_use(folder: Path, result: CheckResult) -> Iterator[str]:
    nodes = {p.dataset: _node_of_list(folder, p) for p in result.parts if p.part == "train"}
    yield from ("## Use what is left", "")
    yield "lists/ has the videos without those of bad_videos.csv. In the config:"
    yield from ("", "```yaml")
    yield yaml.safe_dump({"DATASETS": nodes}, sort_keys=False, allow_unicode=True).rstrip()
    yield "```"


def _node_of_list(folder: Path, part: CheckedPart) -> dict[str, Any]:
    """Return the config node of a dataset that is read from its cleaned list."""
    index = part.index
    node: dict[str, Any] = {
        "FORMAT": "list",
        "ROOT": escape_path(str(index.root.absolute())),
        "ANNOTATIONS": escape_path(str(folder.absolute() / "lists" / part.dataset)),
    }
    if index.mirror_labels is None:
        node["FLIP"] = "off"
    elif index.mirror_labels:
        pairs = [(k, other) for k, other in enumerate(index.mirror_labels) if k < other]
        node["LEFT_RIGHT_PAIRS"] = [[index.class_names[k] for k in pair] for pair in pairs]
    return node


def _format_counts(result: CheckResult) -> Iterator[str]:
    """Yield the lines of the summary table, with one column per part."""
    parts = result.parts
    problems = [result.count_problems(part) for part in parts]
    findings = [result.count_findings(part) for part in parts]
    rows: list[tuple[str, Sequence[int]]] = [
        ("listed", [len(part.index) + len(part.index.missing) for part in parts]),
        *((problem, [count[problem] for count in problems]) for problem in PROBLEMS),
    ]
    for kind in KINDS:
        # Kinds that drop videos are counted among the bad videos, which have one problem each.
        numbers = [count[kind] for count in (problems if KINDS[kind].drops else findings)]
        if any(numbers):
            prefix = "" if KINDS[kind].is_bad else "note: "
            rows.append((prefix + title_of(kind), numbers))
    rows.append(("**in the cleaned list**", [len(result.cleaned(part)) for part in parts]))
    yield from _format_table(["videos", *(part.title for part in parts)], rows)


def _format_details(result: CheckResult) -> Iterator[str]:
    """Yield the first few bad videos and findings of each kind, bad kinds first."""
    for problem in (*PROBLEMS, *(kind for kind in KINDS if KINDS[kind].drops)):
        bad = [b for b in result.bad_videos if b.problem == problem]
        lines = [f"`{b.path}` ({b.dataset} {b.part}): {b.cause}" for b in bad]
        yield from _format_section(title_of(problem), lines)
    for kind in sorted(KINDS, key=lambda kind: not KINDS[kind].is_bad):
        found = [f for f in result.findings if f.kind == kind and not KINDS[kind].drops]
        lines = []
        for f in found:
            place = f"{f.dataset} {f.part}".strip()
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


def _format_shapes(parts: Sequence[CheckedPart]) -> Iterator[str]:
    reports = [[report for _, report in part.usable()] for part in parts]
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
    yield from _format_table(["usable videos", *(part.title for part in parts)], rows)


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
