import pytest
from benchmarks.engine_checkpoint import benchmark_checkpoints
from benchmarks.workloads import ModelCase

CASE = ModelCase("r3d_18", 2, 16, 2, width_factor=0.125, depth_factor=0.5)


@pytest.mark.nightly
def test_checkpoints_are_measured_against_torch_and_resuming_late_against_early(
    tiny_data, tmp_path
):
    (tmp_path / "resuming").mkdir()
    (tmp_path / "resuming" / "videos").symlink_to(tiny_data)
    figures = {f.name: f for f in benchmark_checkpoints(tmp_path, num_rounds=2, case=CASE)}
    checkpoint = [f"engine/checkpoint/{name}" for name in ("torch_save", "whole", "copy")]
    blocking = [f"engine/checkpoint/blocking/{what}" for what in ("ms", "share", "ratio")]
    assert figures.keys() == {
        *("engine/checkpoint/size", "engine/checkpoint/whole/ratio", "engine/resume/ratio"),
        *(f"{name}/ms" for name in checkpoint),
        *(f"engine/resume/after_{num}/ms" for num in (10, 10_000)),
        *blocking,
    }
    assert all(figure.low > 0 for figure in figures.values())
    assert figures["engine/checkpoint/whole/ratio"].must == 1.1
    assert figures["engine/resume/ratio"].must == 1.05
    # Nothing is left, and the videos that were there stay.
    assert not list(tmp_path.iterdir())
    assert (tiny_data / "manifest.json").exists()
