import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from videokd.utils.io import atomic_write_bytes
from videokd.utils.temporary import remove_leftovers, temporary_beside


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def kill_in_a_write(path):
    """Write a file in a process that dies before the file has its name."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from videokd.utils.io import atomic_write_bytes\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "atomic_write_bytes(Path(sys.argv[1]), b'longer than what follows')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], timeout=100)
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_is_gone_after_the_next_write(tmp_path):
    path = tmp_path / "a.json"
    atomic_write_bytes(path, b"old")
    kill_in_a_write(path)
    kill_in_a_write(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == [".a.json.tmp", "a.json"]
    atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.json"]


def test_leftovers_can_be_removed_and_what_is_being_written_stays(tmp_path):
    left, busy = tmp_path / "left", tmp_path / "busy"
    kill_in_a_write(left)
    (tmp_path / ".busy.0123abcd").write_bytes(b"of one more that is gone")
    with temporary_beside(busy) as (_, place):
        remove_leftovers(left)
        remove_leftovers(busy)
        assert names(tmp_path) == [place.name] == [".busy.tmp"]
        os.replace(place, busy)
    assert names(tmp_path) == ["busy"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with temporary_beside(path) as (first, place), temporary_beside(path) as (second, other):
        assert place != other
        for file, text in ((first, b"first"), (second, b"second")):
            file.write(text)
            file.flush()
        os.replace(other, path)
        assert path.read_bytes() == b"second"
        os.replace(place, path)
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


def test_a_file_that_was_renamed_while_it_was_opened_is_not_taken(tmp_path, monkeypatch):
    path = tmp_path / "a"

    def flock(handle, operation):
        # Another process ends its write between our opening and our locking of its file.
        if (tmp_path / ".a.tmp").exists():
            os.replace(tmp_path / ".a.tmp", path)

    (tmp_path / ".a.tmp").write_bytes(b"whole")
    monkeypatch.setattr(fcntl, "flock", flock)
    with temporary_beside(path) as (_, place):
        assert path.read_bytes() == b"whole"
        assert names(tmp_path) == [place.name, "a"]
        os.replace(place, path)


def test_a_body_that_fails_leaves_nothing_and_nothing_of_another_goes(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(ValueError, match="^early$"), temporary_beside(path):
        raise ValueError("early")
    assert names(tmp_path) == []

    def rename_and_fail(place):
        os.replace(place, path)
        place.write_bytes(b"of another")
        raise ValueError("late")

    with pytest.raises(ValueError, match="^late$"), temporary_beside(path) as (_, place):
        rename_and_fail(place)
    assert names(tmp_path) == [".a.tmp", "a"]


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    def flock(handle, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    atomic_write_bytes(tmp_path / "a", b"1")
    assert names(tmp_path) == ["a"]
    (tmp_path / ".a.0123abcd").write_bytes(b"of whom nobody knows")
    remove_leftovers(tmp_path / "a")
    assert names(tmp_path) == [".a.0123abcd", "a"]


def test_a_name_that_is_a_pattern_stands_for_itself(tmp_path):
    (tmp_path / ".ab.tmp").write_bytes(b"")
    remove_leftovers(Path(tmp_path / "[a]b"))
    assert names(tmp_path) == [".ab.tmp"]
