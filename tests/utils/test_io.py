import errno
import os

import pytest

from videokd.utils.io import (
    atomic_write_bytes,
    atomic_write_text,
    read_json,
    sha256_file,
    sha256_json,
    write_json,
)


def test_atomic_write_leaves_the_old_file_and_no_other_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    atomic_write_bytes(path, b"old")

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_makes_folders_and_gives_usual_permissions(tmp_path):
    path, usual = tmp_path / "a" / "b" / "file", tmp_path / "usual"
    atomic_write_text(path, "\u00e9")
    usual.write_text("")
    assert path.read_text(encoding="utf-8") == "\u00e9"
    assert path.stat().st_mode == usual.stat().st_mode


def test_sha256_of_abc_is_the_published_one(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sha256_json_ignores_the_order_of_keys():
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": 2})


def test_json_comes_back_equal_and_nan_is_refused(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": [1, 2.5, "x"]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": [1, 2.5, "x"]}


def test_a_full_disk_says_for_which_file(tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'a'}'"):
        atomic_write_text(tmp_path / "a", "x")
