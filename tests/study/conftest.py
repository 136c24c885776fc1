"""Studies of the tiny experiment, nothing of which is trained."""

from collections.abc import Callable

import numpy as np
import pytest
from rich.console import Console
from torch import nn

from videokd.config import load_config
from videokd.engine.stop import StopRequest
from videokd.evaluation.multi_view import Predictions
from videokd.pipeline import scoring as scoring_module
from videokd.pipeline.run import Run
from videokd.pipeline.scoring import score_training
from videokd.pipeline.training import Training
from videokd.study.study import Study, make_study, read_variants


@pytest.fixture
def plan_study(write_config: Callable[..., object]) -> Callable[..., Study]:
    """``plan_study({name: node of VARIANTS}, seeds=(0,), **nodes of write_config)``."""

    def plan(variants: dict[str, object], seeds: tuple[int, ...] = (0,), **nodes: object) -> Study:
        cfg = load_config(write_config(VARIANTS=variants, **nodes))
        return make_study(cfg, read_variants(cfg, seeds), Console(quiet=True), StopRequest())

    return plan


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``score(study, variant, split, right)``: as if its first ``right`` videos were right."""

    def score_variant(study: Study, name: str, split: str, right: int) -> None:
        def predict(
            run: Run, training: Training, model: nn.Module, dataset: str, split: str, *, title: str
        ) -> Predictions:
            labels = np.array([r.label for r in run.datasets[dataset].index(split).records])
            named = np.where(np.arange(len(labels)) < right, labels, (labels + 1) % 8)
            logits = np.eye(10, dtype=np.float32)[named][:, None]
            return Predictions(logits, labels, np.arange(len(labels)), ())

        run = study.runs[name, 0]
        monkeypatch.setattr(scoring_module, "predict_split", predict)
        monkeypatch.setattr(run.plan, "load_model", lambda training: training.build_model())
        variant = next(v for v in study.variants if v.name == name)
        for training in study.row(variant, 0).values():
            score_training(run, training, split)

    return score_variant
