import importlib.util
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import distill, figures, models, workloads
from benchmarks.figures import Figure, median_interval, to_rows
from benchmarks.workloads import ModelCase

from videokd.models.zoo import FAMILIES, get_architecture
from videokd.utils.errors import InputError

TOOL = Path(__file__).parents[2] / "tools" / "benchmark.py"
CPU = torch.device("cpu")
CASES = (
    ModelCase("r3d_18", 2, 16, 2, width_factor=0.125, depth_factor=0.5),
    ModelCase("mc3_18", 4, 16, 2, width_factor=0.125, depth_factor=0.5),
)


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("benchmark_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _ratio(variant, value, low, high):
    return Figure(f"models/x3d_s/train/{variant}/ratio", value, low, high, models._RATIO_UNIT)


def test_the_interval_is_of_order_statistics():
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    # 9 samples: 1 - 2 * (1 + 9) / 512 = 96 % from the second to the second to last.
    assert median_interval([float(i) for i in range(9)]) == (1.0, 7.0)
    assert median_interval([5.0]) == (5.0, 5.0)


@pytest.mark.parametrize("num_samples", [6, 9, 15, 30])
def test_the_interval_holds_the_median_as_often_as_it_says(num_samples):
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(2000, num_samples))
    held = [low <= math.log(2) <= high for low, high in map(median_interval, samples)]
    assert 0.935 < np.mean(held) <= 1.0


def test_alternatives_take_turns_and_the_order_turns_around():
    calls = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = figures.time_interleaved(works, device=CPU, num_rounds=3)
    assert "".join(calls) == "aaabbb" + "ab" + "ba" + "ab"
    assert {name: len(samples) for name, samples in times.items()} == {"a": 3, "b": 3}
    assert figures.paired_ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_a_winner_must_beat_the_reference_with_its_whole_interval():
    assert models.describe_winners(
        [
            _ratio("float32/contiguous", 1.0, 1.0, 1.0),
            _ratio("float32/channels_last_3d", 0.9, 0.85, 0.95),
            _ratio("bf16/contiguous", 0.5, 0.4, 1.1),
        ]
    ) == ["fastest for x3d_s train: float32/channels_last_3d (0.90 of float32/contiguous)"]
    (line,) = models.describe_winners([_ratio("bf16/contiguous", 0.5, 0.4, 1.1)])
    assert line == "fastest for x3d_s train: float32/contiguous, or no difference"


def test_models_are_measured_in_every_variant_and_mode():
    found = models.benchmark_models(CPU, num_rounds=1, cases=CASES[:1])
    names = {figure.name for figure in found}
    assert len(names) == len(found) == 2 * 4 * 2
    assert "models/r3d_18/train/bf16/channels_last_3d/ratio" in names
    reference = [f for f in found if f.name.endswith("float32/contiguous/ratio")]
    assert [f.value for f in reference] == [1.0, 1.0]


def test_the_fastest_variant_is_measured_compiled_too(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch.compiler.reset()
    found = models.benchmark_models(CPU, num_rounds=1, cases=CASES[:1], has_compiled=True)
    times = {f.name: f.value for f in found if f.name.endswith("/ms")}
    for mode in ("train", "eval"):
        prefix = f"models/r3d_18/{mode}/"
        fused = {name.removeprefix(prefix): ms for name, ms in times.items() if prefix in name}
        (compiled,) = (name for name in fused if "compile" in name)
        del fused[compiled]
        assert compiled == min(fused, key=fused.get).replace("/ms", "/compile/ms")
    assert len(found) == 2 * (4 + 1) * 2


def test_a_family_whose_library_is_missing_is_left_out(monkeypatch, caplog):
    def build_plain(**arguments):
        raise InputError("it needs a library")

    family = replace(FAMILIES["video_resnet"], build_plain=build_plain)
    monkeypatch.setitem(FAMILIES, "video_resnet", family)
    assert models.benchmark_models(CPU, num_rounds=1, cases=CASES[:1]) == []
    assert "r3d_18 is left out: it needs a library" in caplog.text


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_family_has_one_case_that_its_scale_takes(device):
    cases = workloads.cases_of_families(torch.device(device))
    families = [
        get_architecture(
            case.arch,
            num_frames=case.num_frames,
            crop_size=case.crop_size,
            width_factor=case.width_factor,
            depth_factor=case.depth_factor,
        ).family
        for case in cases
    ]
    assert sorted(families) == sorted(FAMILIES)


def test_a_student_is_measured_with_and_without_teachers():
    found = {f.name: f for f in distill.benchmark_distill(CPU, num_rounds=1, cases=CASES)}
    assert found.keys() == {
        f"distill/{teacher}/{what}"
        for teacher in ("alone", "expert_logits", "joint_teacher")
        for what in ("ms", "ratio")
    }
    assert found["distill/alone/ratio"].value == 1.0


def test_the_tool_shows_and_writes_every_figure(tool, monkeypatch, tmp_path, capsys):
    found = [
        Figure.of_samples("models/a/ms", [1.0, 2.0, 3.0], "ms"),
        Figure.of_count("data/b/opens", 2.0, "opens", must=1, goal=1),
    ]
    asked = []

    def measure(*arguments, is_quick):
        asked.append((*arguments, is_quick))
        return found

    monkeypatch.setattr(tool, "measure", measure)
    out = tmp_path / "figures.json"
    assert tool.main(["models", "--device", "cpu", "--quick", "--json", str(out)]) == 0
    assert asked == [("models", CPU, 6, True)]
    printed = capsys.readouterr().out
    assert "2.000  [1.000 .. 3.000] ms" in printed
    assert "2.000 opens (must be 1: NOT MET)" in printed
    rows = json.loads(out.read_text())
    assert rows == to_rows(found, figures.describe_hardware(CPU))
    assert rows[1].keys() == {
        *("name", "value", "low", "high", "must", "goal", "better", "unit", "hardware")
    }
    assert (rows[0]["must"], rows[1]["must"]) == (None, 1)


def test_unknown_benchmarks_and_devices_are_refused(tool, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        tool.main(["engines"])
    assert "invalid choice" in capsys.readouterr().err
    with pytest.raises(InputError, match="DEVICE must be auto, cpu, cuda"):
        tool.main(["models", "--device", "tpu"])
