"""The items are expressions and the workers evaluate them: a worker can be told to do anything."""

import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import active_children, connection
from pathlib import Path

import pytest

from videokd.data.pool import supervised_pool
from videokd.data.pool.supervised_pool import Lost, SupervisedPool
from videokd.data.pool.worker import WorkerTraceback
from videokd.utils.errors import InputError, RunError, VideoError

HANG = "__import__('time').sleep(1000)"
ABORT = "__import__('os').abort()"
STOP_ITSELF = "__import__('os').kill(__import__('os').getpid(), 19)"
# A worker that has begun is given this long; none of what should end well takes a tenth of it.
DEADLINE_SEC = 2.0


def make_pool(function=eval, *, num_workers=1, **options):
    return SupervisedPool(
        function, num_workers=num_workers, **{"deadline_sec": DEADLINE_SEC, **options}
    )


@pytest.fixture(autouse=True)
def no_worker_is_left():
    yield
    assert active_children() == []


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_tasks(num_workers):
    tasks = [["__import__('time').sleep(0.2)", "1"], ["2"], [], ["3", "4", "5"], ["6"]]
    with make_pool(num_workers=num_workers) as pool:
        assert list(pool.map(tasks)) == [[None, 1], [2], [], [3, 4, 5], [6]]
        # Workers stay for what comes next.
        workers = active_children()
        assert list(pool.map([["7"]])) == [[7]]
        assert active_children() == workers


@pytest.mark.parametrize(
    ("item", "cause"),
    [
        (HANG, "hung for more than 2 s"),
        (STOP_ITSELF, "hung for more than 2 s"),
        (ABORT, "its process died of SIGABRT"),
        ("__import__('ctypes').string_at(0)", "its process died of SIGSEGV"),
        ("__import__('os')._exit(0)", "its process ended with exit code 0"),
        ("__import__('sys').exit(3)", "its process ended with exit code 3"),
        (
            "__import__('os').kill(__import__('os').getpid(), 9)",
            "its process died of SIGKILL, as when the system runs out of memory",
        ),
        ("bytearray(2 ** 60)", "it needs more memory than there is"),
        ("__import__('torch').empty(2 ** 60)", "it needs more memory than there is"),
    ],
)
def test_an_item_that_ends_its_worker_is_lost_and_nothing_else_is(item, cause):
    with make_pool() as pool:
        results = list(pool.map([["1"], ["2", item, "3"], ["4"]]))
    assert results == [[1], [2, Lost(cause), 3], [4]]
    assert results[1][1].item == item


def test_several_items_of_a_task_can_be_lost():
    with make_pool() as pool:
        (results,) = pool.map([[ABORT, "1", "__import__('os')._exit(1)", "2"]])
    died = Lost("its process died of SIGABRT"), Lost("its process ended with exit code 1")
    assert results == [died[0], 1, died[1], 2]


def test_what_other_workers_do_goes_on_while_one_hangs():
    tasks = [[HANG], *([str(i)] for i in range(8))]
    with make_pool(num_workers=2) as pool:
        results = list(pool.map(tasks))
    assert results == [[Lost("hung for more than 2 s")], *([i] for i in range(8))]


def test_the_parent_never_looks_away_for_longer_than_the_deadline(monkeypatch):
    waits = []

    def wait(handles, timeout):
        waits.append(timeout)
        return connection.wait(handles, timeout)

    monkeypatch.setattr(supervised_pool, "wait", wait)
    with make_pool() as pool:
        assert list(pool.map([[HANG]])) == [[Lost("hung for more than 2 s")]]
    assert max(waits) == DEADLINE_SEC


def test_a_worker_that_was_stopped_along_with_its_parent_is_not_blamed():
    with make_pool() as pool:
        results = pool.map([["1"], ["__import__('time').sleep(0.5)"]])
        assert next(results) == [1]
        (worker,) = active_children()
        os.kill(worker.pid, signal.SIGSTOP)
        time.sleep(DEADLINE_SEC + 0.5)
        os.kill(worker.pid, signal.SIGCONT)
        assert next(results) == [None]


def test_memory_that_runs_out_here_loses_the_item_too():
    lost = Lost("it needs more memory than there is")
    with make_pool(num_workers=0) as pool:
        results = list(pool.map([["bytearray(2 ** 60)", "__import__('torch').empty(2 ** 60)"]]))
    assert results == [[lost, lost]]


def test_combine_gets_results_and_what_is_lost():
    died = Lost("its process died of SIGABRT", ABORT)
    with make_pool(combine=str) as pool:
        assert list(pool.map([["1", "2"], ["1", ABORT]])) == ["[1, 2]", f"[1, {died}]"]


def test_an_item_that_is_lost_already_is_passed_on():
    with make_pool() as pool:
        gone = Lost("known")
        assert list(pool.map([["1", gone], [gone]])) == [[1, gone], [gone]]
    with make_pool(num_workers=0) as pool:
        assert list(pool.map([["1", gone], [gone]])) == [[1, gone], [gone]]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_the_function_raises_is_raised_in_its_turn(num_workers):
    with make_pool(num_workers=num_workers) as pool:
        results = pool.map([["1"], ["2", "int('x')"], ["3"]])
        assert next(results) == [1]
        with pytest.raises(ValueError, match="invalid literal for int") as caught:
            next(results)
        assert list(pool.map([["4"]])) == [[4]]
    if num_workers:
        assert isinstance(caught.value.__cause__, WorkerTraceback)
        assert "<string>" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("item", "kind", "message"),
    [
        ("exec('from videokd.utils.errors import *; raise InputError(1)')", InputError, "1"),
        ("exec('from videokd.utils.errors import *; raise VideoError(1, 2)')", VideoError, "1: 2"),
        # An exception whose class the parent does not know, and a result that does not pickle.
        ("exec('class Odd(Exception): pass\\nraise Odd(5)')", RuntimeError, "Odd: 5"),
        ("lambda: 5", Exception, "pickle"),
    ],
)
def test_exceptions_keep_their_class_where_they_can(item, kind, message):
    with make_pool() as pool, pytest.raises(kind, match=message):
        list(pool.map([[item]]))


def test_tasks_are_drawn_as_they_are_needed():
    drawn = []

    def draw():
        for number in range(100):
            drawn.append(number)
            yield [str(number)]

    with make_pool(num_workers=2, max_ahead=3) as pool:
        results = pool.map(draw())
        for number in range(4):
            assert next(results) == [number]
            assert len(drawn) == number + 6
        results.close()


def test_closing_the_results_or_the_pool_waits_for_nothing():
    with make_pool(num_workers=2, deadline_sec=1000.0) as pool:
        results = pool.map([["1"], [HANG], [HANG], [HANG]])
        assert next(results) == [1]
        begin = time.monotonic()
        results.close()
        assert active_children() == []
        results = pool.map([["1"], [STOP_ITSELF]])
        assert next(results) == [1]
    assert time.monotonic() - begin < 500


def test_each_new_worker_is_initialised_with_its_number():
    # The first question after os.umask(0) is answered with 0, not with the usual 18.
    mask = "__import__('os').umask(18)"
    with make_pool(worker_init=os.umask) as pool:
        (results,) = pool.map([[mask, ABORT, mask]])
    assert results == [0, Lost("its process died of SIGABRT"), 18]


def test_workers_have_one_thread():
    with make_pool() as pool:
        assert list(pool.map([["__import__('torch').get_num_threads()"]])) == [[1]]


def test_a_signal_to_all_processes_is_left_to_the_parent():
    with make_pool() as pool:
        assert list(pool.map([["1"]])) == [[1]]
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            for process in (active_children()[0].pid, parent_of(active_children()[0].pid)):
                os.kill(process, name)
        assert list(pool.map([["2", ABORT]])) == [[2, Lost("its process died of SIGABRT")]]


def parent_of(process):
    """Return the server that a worker was forked from."""
    status = Path(f"/proc/{process}/status").read_text()
    parent = int(status.split("PPid:")[1].split()[0])
    assert parent != os.getpid()
    return parent


def test_workers_that_die_before_their_work_end_the_run():
    message = "3 workers in a row ended, .* with exit code 0.*if __name__"
    with make_pool(worker_init=os._exit) as pool, pytest.raises(RunError, match=message):
        list(pool.map([["1"]]))


def test_a_worker_init_that_fails_is_a_defect():
    message = "must be str or None, not int"
    with make_pool(worker_init="text".split) as pool, pytest.raises(TypeError, match=message):
        list(pool.map([["1"]]))


def test_results_that_end_their_worker_on_their_way_are_lost():
    bomb = "type('Bomb', (), {'__reduce__': lambda self: __import__('os')._exit(7)})()"
    lost = Lost("its process ended with exit code 7")
    with make_pool() as pool:
        results = list(pool.map([["1", bomb, "2", bomb], ["3"], [bomb], [bomb, ABORT], ["4"]]))
    died = Lost("its process died of SIGABRT")
    assert results == [[1, lost, 2, lost], [3], [lost], [lost, died], [4]]


def test_a_worker_that_dies_while_it_combines_leaves_that_to_the_parent():
    with make_pool(combine=math.prod) as pool:
        assert list(pool.map([["2", "3"]])) == [6]
        with pytest.raises(MemoryError, match="^$"):
            list(pool.map([["bytearray(1)", "2 ** 60"]]))
        assert list(pool.map([["4", "5"]])) == [20]


def test_results_of_any_size_go_through_memory_without_a_name():
    with make_pool() as pool:
        pieces = pool.map([["'x' * 50_000_000", "__import__('torch').ones(50_000_000)"], ["1"]])
        text, ones = next(pieces)
        assert (len(text), ones.shape, ones.sum()) == (50_000_000, (50_000_000,), 50_000_000)
        for process in (os.getpid(), active_children()[0].pid):
            shared = [name for name in used_files(process) if "/dev/shm/" in name]
            assert all(name.endswith(" (deleted)") for name in shared)


def used_files(process):
    """Return what the process has open, and its lines of mapped memory."""
    names = Path(f"/proc/{process}/maps").read_text().splitlines()
    for handle in os.listdir(f"/proc/{process}/fd"):
        with suppress(FileNotFoundError):
            names.append(os.readlink(f"/proc/{process}/fd/{handle}"))
    return names


def test_no_file_is_left_open():
    with make_pool(num_workers=2) as pool:
        list(pool.map([["1"], ["2"], ["3"]]))
        num_files = len(os.listdir("/proc/self/fd"))
        tensor = "__import__('torch').ones(9)"
        kept = list(pool.map([[tensor], ["1", ABORT], [tensor, ABORT], [tensor]]))
        assert len(os.listdir("/proc/self/fd")) == num_files
        assert len(kept) == 4


@pytest.mark.slow
def test_a_script_without_a_guard_ends_with_a_hint(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from videokd.data.pool.supervised_pool import SupervisedPool\n"
        "with SupervisedPool(eval, num_workers=1, deadline_sec=9.0) as pool:\n"
        "    print(list(pool.map([['1']])))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "without `if __name__" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed_even_when_they_hang(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from multiprocessing import active_children\n"
        "from videokd.data.pool.supervised_pool import SupervisedPool\n"
        "if __name__ == '__main__':\n"
        "    with SupervisedPool(eval, num_workers=2, deadline_sec=900.0) as pool:\n"
        "        hang = '__import__(\"time\").sleep(900)'\n"
        "        results = pool.map([['1'], [hang], [hang]])\n"
        "        next(results)\n"
        "        print(*(child.pid for child in active_children()), flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    workers = [Path(f"/proc/{pid}") for pid in done.stdout.split()]
    assert len(workers) == 2
    wait_until(lambda: not any(worker.exists() for worker in workers))


def wait_until(is_so, limit_sec=60.0):
    end = time.monotonic() + limit_sec
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)
