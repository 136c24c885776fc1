import json
import os
import shlex
import subprocess

import pytest
import torch

from videokd.utils import env
from videokd.utils.errors import InputError

CPU = torch.device("cpu")


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
            assert workers + threads <= max(cores, 2 if wanted_workers == -1 else 1)
            assert workers or wanted_workers == 0 or wanted_threads >= max(cores, 2)
            assert threads >= 1
            assert wanted_workers in (-1, workers)
            assert wanted_threads in (0, threads)


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, (1, 1)), (2, (1, 1)), (3, (1, 2)), (4, (1, 3)), (8, (2, 6))]
)
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
    environment = json.loads(json.dumps(env.collect_environment(CPU)))
    assert torch.__version__.startswith(environment["versions"]["torch"])
    assert environment["cores"] >= 1
    assert environment["gpu"] == "none"


def test_the_commit_is_that_of_videokds_own_checkout_alone(tmp_path):
    def git(*words):
        name = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(tmp_path), *name, *words], check=True, capture_output=True)

    def find(folder):
        env.find_commit.cache_clear()
        return env.find_commit(folder)

    nothing = {"commit": "none", "has_local_changes": False}
    assert find(tmp_path) == nothing
    git("init")
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = somebodys\n")
    git("add", "-A")
    git("commit", "-m", "first")
    assert find(tmp_path) == nothing
    (tmp_path / "site-packages").mkdir()
    assert find(tmp_path / "site-packages") == nothing
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = videokd\n")
    found = find(tmp_path)
    assert len(found["commit"]) == 40
    assert found["has_local_changes"]
    git("commit", "-am", "second")
    assert find(tmp_path)["has_local_changes"] is False
    assert find(tmp_path)["commit"] != found["commit"]


def test_peak_memory_is_measured_anew_after_a_reset():
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system cannot reset the peak")
    big = torch.ones(64 * 2**20)  # 0.25 GiB
    env.reset_peak_memory(CPU)
    with_big = env.peak_memory_gib(CPU)
    del big
    env.reset_peak_memory(CPU)
    assert with_big.keys() == {"host"}
    assert env.peak_memory_gib(CPU)["host"] < with_big["host"] - 0.2


def test_the_command_can_be_pasted_into_a_shell(monkeypatch):
    words = ["tools/train_net.py", "TRAIN.LOGGERS", "['tensorboard']"]
    monkeypatch.setattr("sys.argv", words)
    assert shlex.split(env.command_line()) == ["python", *words]


@pytest.mark.parametrize("is_allowed", [True, False])
def test_tf32_is_allowed_in_one_place_and_reported(is_allowed):
    env.allow_tf32(is_allowed)
    known = {"matmul": is_allowed, "conv": is_allowed}
    assert env.collect_environment(CPU)["allow_tf32"] == known


@pytest.mark.parametrize("is_allowed", [True, False])
def test_all_flags_of_tf32_can_be_read_and_agree(is_allowed):
    cpu_precision = torch.backends.mkldnn.matmul.fp32_precision
    env.allow_tf32(is_allowed)
    backends = torch.backends
    # Libraries read the older flags, torch.compile too in torch 2.10.
    assert backends.cuda.matmul.allow_tf32 is backends.cudnn.allow_tf32 is is_allowed
    assert torch.get_float32_matmul_precision() == ("high" if is_allowed else "highest")
    precisions = backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision
    assert [precision == "tf32" for precision in precisions] == [is_allowed, is_allowed]
    assert backends.mkldnn.matmul.fp32_precision == cpu_precision
