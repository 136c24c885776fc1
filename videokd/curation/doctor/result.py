"""Result of a check: bad videos, cleaned lists, and whether the data is in order."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from videokd.curation.doctor.findings import KINDS, CheckedPart, Finding
from videokd.data.lists.index import VideoRecord


@dataclass(frozen=True, slots=True)
class BadVideo:
    """A video that cannot be used, or must not be used.

    Args:
        dataset: Name of the dataset.
        part: "train", "val" or "test".
        path: Path in its list.
        problem: One of PROBLEMS, or a key of KINDS.
        cause: Short description.
    """

    dataset: str
    part: str
    path: str
    problem: str
    cause: str


@dataclass(frozen=True)
class CheckResult:
    """All results of a check.

    Args:
        parts: Train, test and optionally val part of each dataset.
        findings: Findings from `find_all`.
    """

    parts: tuple[CheckedPart, ...]
    findings: tuple[Finding, ...]

    @cached_property
    def bad_videos(self) -> tuple[BadVideo, ...]:
        """Videos left out of the cleaned lists, part by part, each video once."""
        dropped = {
            (f.dataset, f.part, f.path): f for f in reversed(self.findings) if KINDS[f.kind].drops
        }
        bad: list[BadVideo] = []
        for part in self.parts:
            place = (part.dataset, part.part)
            bad += [BadVideo(*place, p, "missing", "listed, not there") for p in part.index.missing]
            for record, report in part.pairs():
                finding = dropped.get((*place, record.path))
                if report.problem:
                    bad.append(BadVideo(*place, record.path, report.problem, report.cause))
                elif finding is not None:
                    bad.append(BadVideo(*place, record.path, finding.kind, finding.text))
        return tuple(bad)

    @property
    def is_ok(self) -> bool:
        """Whether every listed video is usable and no finding is bad."""
        return not self.bad_videos and not any(KINDS[f.kind].is_bad for f in self.findings)

    def count_problems(self, part: CheckedPart) -> Counter[str]:
        """Count the bad videos of a part by problem."""
        return Counter(b.problem for b in self.bad_videos if _is_of(b, part))

    def count_findings(self, part: CheckedPart) -> Counter[str]:
        """Count the findings about a part by kind."""
        return Counter(f.kind for f in self.findings if _is_of(f, part))

    def cleaned(self, part: CheckedPart) -> list[VideoRecord]:
        """Return the records of a part without bad videos."""
        bad = {b.path for b in self.bad_videos if _is_of(b, part)}
        return [record for record in part.index.records if record.path not in bad]


def _is_of(item: BadVideo | Finding, part: CheckedPart) -> bool:
    return (item.dataset, item.part) == (part.dataset, part.part)


def summarise(result: CheckResult) -> str:
    """Return a one-line summary of whether the data is in order."""
    num_listed = sum(len(part.index) + len(part.index.missing) for part in result.parts)
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
