import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from videokd.utils.lock import LOCK_NAME, lock_folder

CODE = (
    "import sys, time; from pathlib import Path\n"
    "from videokd.utils.lock import lock_folder\n"
    "with lock_folder(Path(sys.argv[1])) as holder: print(holder, flush=True); time.sleep(60)\n"
)


def _hold(folder):
    command = [sys.executable, "-c", CODE, str(folder)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "None\n"
    return other


def test_a_folder_is_held_by_one_and_the_others_hear_by_whom(tmp_path):
    folder = tmp_path / "new" / "run"
    with lock_folder(folder) as first, lock_folder(folder) as second:
        assert first is None
        assert second.startswith(f"process {os.getpid()} on {socket.gethostname()} since 20")
    with lock_folder(folder) as third:
        assert third is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_ends_with_its_process_however_that_ends(tmp_path, number):
    with _hold(tmp_path) as other:
        with lock_folder(tmp_path) as holder:
            assert holder.startswith(f"process {other.pid} on ")
        other.send_signal(number)
    with lock_folder(tmp_path) as holder:
        assert holder is None
    assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()


def test_processes_that_the_holder_started_do_not_keep_the_lock(tmp_path):
    with lock_folder(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with lock_folder(tmp_path) as holder:
            assert holder is None
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("words", ["", "{}", "[1]", "not JSON"])
def test_a_lock_whose_words_are_lost_is_a_lock_all_the_same(tmp_path, words):
    with lock_folder(tmp_path):
        (tmp_path / LOCK_NAME).write_text(words)
        with lock_folder(tmp_path) as holder:
            assert holder == "another process"
