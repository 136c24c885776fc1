"""Output of a study: ``OUTPUT.json``, ``OUTPUT.md`` and the pictures in ``OUTPUT/``."""

import logging
from pathlib import Path

from fvcore.common.config import CfgNode

from videokd.pipeline.run import Run
from videokd.study.analysis.analyse import write_analysis
from videokd.study.finished import Finished
from videokd.study.overview import draw_curves, draw_forest
from videokd.study.page import make_page
from videokd.study.results import make_results
from videokd.study.study import Study
from videokd.utils.io import atomic_write_text, write_json

logger = logging.getLogger(__name__)

# Rows whose scores the feature analysis needs. It does not need the scores of the experts.
_READ_ROWS = {"joint", "students"}


def finished_path(output: Path) -> Path:
    """Return the file of what is finished, for the path of a study's output."""
    return output / "finished.json"


def write_output(
    cfg: CfgNode,
    study: Study,
    split: str,
    output: Path,
    finished: Finished,
    *,
    command: str,
    wall_sec: float,
    with_analysis: bool,
) -> None:
    """Write the results of a study.

    Args:
        cfg: The study's config.
        study: Study of that config, trained and scored.
        split: "val" or "test".
        output: Path without extension.
        finished: Trainings and scores that were known before; those on disk are added.
        command: Command line of the call.
        wall_sec: Seconds that the call took.
        with_analysis: Whether to add the feature analysis of the config without OPTS, which needs
            the test split.

    Raises:
        InputError: No variant is complete.
    """
    study.collect(finished, split).write(finished_path(output))
    results = make_results(cfg, study, split, finished, command=command, wall_sec=wall_sec)
    write_json(output.with_name(f"{output.name}.json"), results)
    draw_forest(output / "forest.png", results)
    draw_curves(output / "curves.png", results)
    page = output.with_name(f"{output.name}.md")
    old_page = page.read_text(encoding="utf-8") if page.exists() else ""
    # Write the page before the feature analysis, which takes minutes, and again after it.
    atomic_write_text(page, make_page(results, [], name=output.name, old_page=old_page))
    missing = {(row["variant"], row["seed"]) for row in results["missing"]}
    runs = _plain_runs(study, missing) if with_analysis and split == "test" else {}
    if runs:
        sections = write_analysis(runs, output)
        text = make_page(results, sections, name=output.name, old_page=old_page)
        atomic_write_text(page, text)
    elif with_analysis:
        logger.info(
            "no feature analysis: it needs --split test, all experts, and the rows %s without OPTS",
            ", ".join(sorted(_READ_ROWS)),
        )


def _plain_runs(study: Study, missing: set[tuple[str, int]]) -> dict[int, Run]:
    """Return seed -> run without OPTS, for the seeds with all trainings of the feature analysis."""
    plain = [variant for variant in study.variants if not variant.opts]
    if not {variant.row for variant in plain} >= _READ_ROWS:
        return {}
    runs = {}
    for seed in sorted({seed for _, seed in study.runs}):
        keys = [(variant.name, seed) for variant in plain]
        if not all(key in study.runs and key not in missing for key in keys):
            continue
        run = study.runs[keys[0]]
        if all(run.plan.is_finished(training) for training in run.plan.row("experts").values()):
            runs[seed] = run
    return runs
