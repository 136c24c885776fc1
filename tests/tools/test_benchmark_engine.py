import math

import pytest
from benchmarks.engine import benchmark_start
from benchmarks.engine_step import benchmark_step
from benchmarks.workloads import ModelCase

CASE = ModelCase("mc3_18", 2, 16, 2, width_factor=0.125, depth_factor=0.5)


def test_the_trainer_is_measured_against_a_loop_by_hand(tmp_path):
    found = {f.name: f for f in benchmark_step(tmp_path, num_rounds=2, cases=[CASE])}
    assert found.keys() == {
        *("engine/step/added/ms", "engine/step/mc3_18/ms", "engine/step/mc3_18/ratio")
    }
    ratio = found["engine/step/mc3_18/ratio"]
    assert (ratio.must, ratio.goal) == (1.05, 1.02)
    assert all(math.isfinite(figure.value) for figure in found.values())


@pytest.mark.slow
def test_the_start_of_the_tools_is_measured():
    found = {f.name: f for f in benchmark_start(num_rounds=1)}
    assert found.keys() == {"engine/start/import", "engine/start/help"}
    assert all(math.isfinite(figure.value) for figure in found.values())
