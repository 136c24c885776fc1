import pytest
import torch

from videokd.pipeline.dry_run import show_dry_run

EVERY_BASELINE = ["B1", "B1x", "B2", "B3", "B4", "B4F", "B5", "B7", "B9", "B10", "B11"]


def _show(run, capsys):
    show_dry_run(run)
    return " ".join(capsys.readouterr().out.split())


def test_a_dry_run_shows_sizes_shapes_and_steps(make_run, capsys):
    run = make_run()
    shown = _show(run, capsys)
    assert not run.folder.exists()
    # classes, train, held out, test, missing
    assert "UCF │ 8 │ 16 │ 8 │ 16 │ 0" in shown
    assert "EXPERTS.HMDB mc3_18 │ 4x4x32 │ 8x4x16x16 │" in shown
    assert "stage1 ┃ stage2* ┃ stage3* ┃ stage4 ┃ embedding*" in shown
    # folder, trained on, epochs, steps
    assert "joint │ UCF, HMDB, KINETICS │ 2 │ 14 │" in shown
    assert "experts/UCF │ UCF │ 2 │ 4 │" in shown


@pytest.mark.parametrize(
    ("words", "titles", "rows"),
    [
        (
            [],
            ["joint: pyramid"],
            # Adaptors bring 16 and 32 channels to 8; the embedding's are vectors.
            ["stage2 │ UCF │ 16x2x8x8 │ 8x2x8x8", "stage3 │ HMDB │ 32x4x4x4 │ 8x1x4x4"],
        ),
        (
            ["JOINT.TOPOLOGY", "trunk"],
            ["joint: trunk"],
            # Experts at the lowest level only; 3 x 8 channels are fused to the student's 16.
            ["stage2 │ fused │ 24x2x8x8 │ 16x2x8x8", "stage3 │ fused │ 16x2x8x8 │ 32x1x4x4"],
        ),
        (
            ["JOINT.SCOPE", "target", "JOINT.LEVELS", "[]"],
            [f"joint/{name}: pyramid" for name in ("UCF", "HMDB", "KINETICS")],
            ["embedding │ UCF │ 64 │ 8", "embedding │ fused │ 24 │ 64"],
        ),
    ],
)
def test_the_fusion_table_names_every_adaptor_and_level(make_run, capsys, words, titles, rows):
    shown = _show(make_run(*words, BASELINES=[]), capsys)
    for title in titles:
        assert f"{title}, adaptors and fused levels" in shown
    for row in rows:
        assert row in shown
    assert ("stage3 │ UCF" in shown) == (words == [])


def test_a_dry_run_needs_no_weights_whatever_is_chosen(make_run, capsys, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("weights are loaded"))
    run = make_run(
        *("JOINT.FINE_TUNE", "all", "JOINT.TOPOLOGY", "trunk", "SOLVER.EMA_DECAY", 0.9),
        BASELINES=EVERY_BASELINE,
    )
    shown = _show(run, capsys)
    assert not run.folder.exists()
    for training in run.plan.trainings:
        assert f"{training.folder} │" in shown
