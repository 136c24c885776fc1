import json

import pytest
import torch

from videokd.utils import env
from videokd.utils.errors import InputError


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 8, 16])
def test_planned_threads_are_never_more_than_the_cores(monkeypatch, cores):
    monkeypatch.setattr(env, "num_available_cores", lambda: cores)
    for wanted_workers in range(-1, cores + 2):
        for wanted_threads in range(cores + 2):
            try:
                workers, threads = env.plan_threads(wanted_workers, wanted_threads)
            except InputError:
                # Only what was asked for in so many words may be refused.
                assert max(wanted_workers, 0) + max(wanted_threads, 1) > cores
                continue
            assert workers + threads <= cores
            assert threads >= 1
            assert wanted_workers in (-1, workers)
            assert wanted_threads in (0, threads)


@pytest.mark.parametrize(("cores", "expected"), [(1, (0, 1)), (2, (0, 2)), (8, (2, 6))])
def test_threads_are_planned_by_the_cores(monkeypatch, cores, expected):
    monkeypatch.setattr(env, "num_available_cores", lambda: cores)
    assert env.plan_threads(-1, 0) == expected


def test_too_many_threads_are_refused_with_the_numbers(monkeypatch):
    monkeypatch.setattr(env, "num_available_cores", lambda: 4)
    with pytest.raises(InputError, match=r"NUM_WORKERS 3 \+ NUM_THREADS 2 exceed the 4 cores"):
        env.plan_threads(3, 2)


def test_devices_are_picked_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert env.pick_device("auto") == torch.device("cpu")
    assert env.pick_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="cuda:1 is not there: torch sees 0 CUDA GPUs"):
        env.pick_device("cuda:1")
    with pytest.raises(InputError, match="auto, cpu, cuda or cuda:N; got 'gpu'"):
        env.pick_device("gpu")


def test_the_environment_is_plain_json_and_names_torch():
    environment = json.loads(json.dumps(env.collect_environment()))
    assert torch.__version__.startswith(environment["versions"]["torch"])
    assert environment["cores"] >= 1


@pytest.mark.parametrize(("is_allowed", "expected"), [(True, "tf32"), (False, "ieee")])
def test_tf32_is_allowed_in_one_place_and_reported(is_allowed, expected):
    env.allow_tf32(is_allowed)
    known = {"matmul": expected, "conv": expected}
    assert env.collect_environment()["fp32_precision"] == known
