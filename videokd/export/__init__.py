"""Export of a student to files that need no videokd, and the predictor that reads them."""

from videokd.export.predictor import Prediction, Predictor
from videokd.export.sidecar import Preprocessing, Sidecar
from videokd.export.student import FORMATS, ExportReport, export_student

__all__ = [
    "FORMATS",
    "ExportReport",
    "Prediction",
    "Predictor",
    "Preprocessing",
    "Sidecar",
    "export_student",
]
