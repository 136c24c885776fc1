"""Check of whole datasets: decoding of every frame, and consistency of the lists."""

from videokd.data.doctor.examine import Examine, VideoPath, VideoReport
from videokd.data.doctor.findings import CheckedPart, Finding, find_all
from videokd.data.doctor.report import write_report
from videokd.data.doctor.result import BadVideo, CheckResult, summarise
from videokd.data.doctor.survey import Survey

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
