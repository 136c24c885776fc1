"""Baselines for the comparison with MLFD (METHOD), by the names of the key BASELINES.

``alone`` holds students without a teacher, ``joint`` networks that are trained on all datasets, and
``taught`` students of other teachers. B6, the joint teacher and the experts, is a row of every
result.
"""

from videokd.pipeline.baselines.table import BASELINES, Baseline, baseline_trainings

__all__ = ["BASELINES", "Baseline", "baseline_trainings"]
