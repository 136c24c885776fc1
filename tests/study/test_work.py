import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from videokd.engine.stop import Stopped
from videokd.study.jobs import Job
from videokd.study.work import Action, do_jobs, lock_training, read_failure
from videokd.utils.errors import RunError


def _job(root, name, needs=(), *, is_shown=True):
    folders = tuple(root / need for need in needs)
    training = SimpleNamespace(folder=name, path=root / name)
    return Job(None, training, 0, training.path, folders, ("v",), is_shown)


class Bench:
    """Duties that leave a file, and remember in which order and how often."""

    def __init__(self, seconds=0.0, failing=()):
        self.done = []
        self._seconds = seconds
        self._failing = failing

    def actions(self):
        return tuple(
            Action(verb, self._doer(verb), self._checker(verb)) for verb in ("train", "test")
        )

    def _doer(self, verb):
        def do(run, training):
            time.sleep(self._seconds)
            self.done.append((verb, training.folder))
            if (verb, training.folder) in self._failing:
                raise RunError("the loss is nan")
            (training.path / verb).touch()

        return do

    def _checker(self, verb):
        return lambda run, training: (training.path / verb).exists()


def _work(jobs, bench, *, token="now", check=lambda: None):
    do_jobs(jobs, bench.actions(), token=token, check=check, poll_sec=0.01)


def test_jobs_are_done_in_order_and_scored_when_all_are_trained(tmp_path):
    jobs = [
        _job(tmp_path, "a", is_shown=False),
        _job(tmp_path, "b", ["a"]),
        _job(tmp_path, "c", ["b"]),
    ]
    bench = Bench()
    _work(jobs, bench)
    trained = [("train", name) for name in "abc"]
    assert bench.done == [*trained, ("test", "b"), ("test", "c")]


def test_what_is_finished_is_not_done_again(tmp_path):
    jobs = [_job(tmp_path, name) for name in "ab"]
    _work(jobs, Bench())
    (tmp_path / "b" / "test").unlink()
    bench = Bench()
    _work(jobs, bench)
    assert bench.done == [("test", "b")]


def test_two_workers_never_do_one_job(tmp_path):
    jobs = [_job(tmp_path, str(i), [str(i - 1)] if i % 3 else []) for i in range(12)]
    bench = Bench(seconds=0.01)
    workers = [threading.Thread(target=_work, args=(jobs, bench)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(bench.done) == len(set(bench.done)) == 24
    assert bench.done[:12] == [done for done in bench.done if done[0] == "train"]


def test_a_claim_is_for_one_at_a_time(tmp_path):
    with lock_training(tmp_path / "a") as first, lock_training(tmp_path / "a") as second:
        assert (first, second) == (True, False)
    with lock_training(tmp_path / "a") as third:
        assert third


def test_the_job_of_a_worker_that_is_killed_is_taken_over(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from videokd.study.work import lock_training\n"
        "with lock_training(Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "mine\n"
        bench = Bench()
        jobs = [_job(tmp_path, name) for name in "ab"]
        worker = threading.Thread(target=_work, args=(jobs, bench))
        worker.start()
        while ("train", "b") not in bench.done:
            time.sleep(0.01)
        assert ("train", "a") not in bench.done
        os.kill(other.pid, signal.SIGKILL)
        worker.join()
    assert sorted(bench.done) == [("test", "a"), ("test", "b"), ("train", "a"), ("train", "b")]


def test_what_needs_a_failed_job_is_skipped_and_the_rest_goes_on(tmp_path):
    needs = {"a": [], "b": ["a"], "c": ["b"], "d": []}
    jobs = [_job(tmp_path, name, of) for name, of in needs.items()]
    bench = Bench(failing=[("train", "a")])
    _work(jobs, bench)
    assert bench.done == [("train", "a"), ("train", "d"), ("test", "d")]
    assert read_failure(tmp_path / "a", "now") == "the loss is nan"
    assert read_failure(tmp_path / "b", "now") is None


def test_a_failed_job_is_tried_again_by_the_next_call_only(tmp_path):
    jobs = [_job(tmp_path, "a")]
    _work(jobs, Bench(failing=[("train", "a")]))
    bench = Bench()
    _work(jobs, bench, token="now")
    assert bench.done == []
    _work(jobs, bench, token="later")
    assert bench.done == [("train", "a"), ("test", "a")]
    assert not (tmp_path / "a" / "failure.json").exists()


def test_a_stop_is_passed_on_before_the_next_job(tmp_path):
    bench = Bench()

    def check():
        if bench.done:
            raise Stopped

    with pytest.raises(Stopped, match="^$"):
        _work([_job(tmp_path, "a"), _job(tmp_path, "b")], bench, check=check)
    assert bench.done == [("train", "a")]


def test_a_unit_keeps_its_lock_beside_its_results(tmp_path):
    with lock_training(tmp_path / "trainings" / "a"):
        assert (tmp_path / "trainings" / "a" / "lock").exists()
