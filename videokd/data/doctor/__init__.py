"""The check of whole datasets: every file, every frame, and what the lists say of them."""

from videokd.data.doctor.examine import Examine, VideoPath, VideoReport
from videokd.data.doctor.survey import Survey

__all__ = ["Examine", "Survey", "VideoPath", "VideoReport"]
