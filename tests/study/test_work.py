import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from videokd.engine.stop import Stopped
from videokd.study.study import Job
from videokd.study.work import Work, do_jobs, read_failure
from videokd.utils.errors import RunError


def _job(root, name, needs=()):
    folders = tuple(root / need for need in needs)
    training = SimpleNamespace(folder=name)
    return Job(None, training, 0, root / name, folders, ("v",), True)


class Recorder:
    """Work that leaves a file and records its order."""

    def __init__(self, seconds=0.0, failing=()):
        self.done = []
        self._seconds = seconds
        self._failing = failing
        self.work = Work(self._do, lambda job: (job.folder / "done").exists())

    def _do(self, job):
        time.sleep(self._seconds)
        self.done.append(job.folder.name)
        if job.folder.name in self._failing:
            raise RunError("the loss is nan")
        (job.folder / "done").touch()


def _work(jobs, recorder, *, token="now", check=lambda: None):
    do_jobs(jobs, recorder.work, token=token, check=check, poll_sec=0.01)


def test_jobs_are_done_in_order(tmp_path):
    recorder = Recorder()
    _work([_job(tmp_path, "a"), _job(tmp_path, "b", ["a"]), _job(tmp_path, "c", ["b"])], recorder)
    assert recorder.done == [*"abc"]


def test_finished_jobs_are_skipped(tmp_path):
    jobs = [_job(tmp_path, name) for name in "ab"]
    _work(jobs, Recorder())
    (tmp_path / "b" / "done").unlink()
    recorder = Recorder()
    _work(jobs, recorder)
    assert recorder.done == ["b"]


def test_two_workers_never_do_one_job(tmp_path):
    jobs = [_job(tmp_path, str(i), [str(i - 1)] if i % 3 else []) for i in range(12)]
    recorder = Recorder(seconds=0.01)
    workers = [threading.Thread(target=_work, args=(jobs, recorder)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(recorder.done, key=int) == [str(i) for i in range(12)]


def test_the_job_of_a_worker_that_is_killed_is_taken_over(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from videokd.utils.lock import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        recorder = Recorder()
        jobs = [_job(tmp_path, name) for name in "ab"]
        worker = threading.Thread(target=_work, args=(jobs, recorder))
        worker.start()
        while "b" not in recorder.done:
            time.sleep(0.01)
        assert "a" not in recorder.done
        os.kill(other.pid, signal.SIGKILL)
        worker.join()
    assert recorder.done == ["b", "a"]


def test_jobs_that_need_a_failed_job_are_skipped_and_the_rest_goes_on(tmp_path):
    needs = {"a": [], "b": ["a"], "c": ["b"], "d": []}
    jobs = [_job(tmp_path, name, of) for name, of in needs.items()]
    recorder = Recorder(failing=["a"])
    _work(jobs, recorder)
    assert recorder.done == ["a", "d"]
    assert read_failure(tmp_path / "a", "now") == "the loss is nan"
    assert read_failure(tmp_path / "b", "now") is None


def test_a_failed_job_is_tried_again_by_the_next_call_only(tmp_path):
    jobs = [_job(tmp_path, "a")]
    _work(jobs, Recorder(failing=["a"]))
    recorder = Recorder()
    _work(jobs, recorder, token="now")
    assert recorder.done == []
    _work(jobs, recorder, token="later")
    assert recorder.done == ["a"]
    assert not (tmp_path / "a" / "failure.json").exists()


def test_a_stop_is_passed_on_before_the_next_job(tmp_path):
    recorder = Recorder()

    def check():
        if recorder.done:
            raise Stopped

    with pytest.raises(Stopped, match="^$"):
        _work([_job(tmp_path, "a"), _job(tmp_path, "b")], recorder, check=check)
    assert recorder.done == ["a"]
