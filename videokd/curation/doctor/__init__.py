"""Check of whole datasets: decoding of every frame, and consistency of the lists."""

from videokd.curation.doctor.examine import Examine, VideoPath, VideoReport
from videokd.curation.doctor.findings import CheckedPart, Finding, find_all
from videokd.curation.doctor.report import write_report
from videokd.curation.doctor.result import BadVideo, CheckResult, summarise
from videokd.curation.doctor.survey import Survey

__all__ = [
    "BadVideo",
    "CheckResult",
    "CheckedPart",
    "Examine",
    "Finding",
    "Survey",
    "VideoPath",
    "VideoReport",
    "find_all",
    "summarise",
    "write_report",
]
