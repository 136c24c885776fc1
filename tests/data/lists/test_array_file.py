import numpy as np
import pytest

from videokd.data.lists.array_file import open_arrays, save_arrays
from videokd.utils.errors import InputError

KIND = "test 1"
ARRAYS = {
    "odd": np.arange(5, dtype=np.uint8),
    "none": np.empty(0, np.float64),
    "big": np.array([-(2**40), 2**40]),
    "flags": np.array([True, False, True]),
}


@pytest.fixture
def folder(tmp_path):
    save_arrays(tmp_path / "new", ARRAYS, kind=KIND, about={"names": ["a", "\u00e9"]})
    return tmp_path / "new"


def data_file(folder):
    (path,) = folder.glob("arrays-*.bin")
    return path


def flip_byte(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_arrays_come_back_with_their_types_and_cannot_be_changed(folder):
    stored = open_arrays(folder, kind=KIND)
    assert stored.about == {"names": ["a", "\u00e9"]}
    assert list(stored.arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert stored.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(stored.arrays[name], array)
    with pytest.raises(ValueError, match="read-only"):
        stored.arrays["odd"][0] = 1


def test_nothing_is_a_set_of_arrays_too(tmp_path):
    save_arrays(tmp_path, {}, kind=KIND, about={})
    assert open_arrays(tmp_path, kind=KIND).arrays == {}


def test_new_arrays_replace_the_old_and_who_has_mapped_those_keeps_them(folder):
    old = open_arrays(folder, kind=KIND)
    save_arrays(folder, {"odd": np.zeros(9)}, kind=KIND, about={})
    assert open_arrays(folder, kind=KIND).arrays["odd"].tolist() == [0.0] * 9
    assert old.arrays["odd"].tolist() == [0, 1, 2, 3, 4]
    assert len(list(folder.iterdir())) == 2


def test_the_same_arrays_may_be_saved_again(folder):
    save_arrays(folder, ARRAYS, kind=KIND, about={})
    assert open_arrays(folder, kind=KIND).arrays["odd"].tolist() == [0, 1, 2, 3, 4]


def test_a_write_that_was_cut_off_leaves_the_old_arrays(folder, monkeypatch):
    def fail(path, value):
        raise OSError("disk full")

    monkeypatch.setattr("videokd.data.lists.array_file.write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        save_arrays(folder, {"odd": np.zeros(9)}, kind=KIND, about={})
    assert open_arrays(folder, kind=KIND).arrays["odd"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("place", [0, 64, -1])
def test_a_changed_byte_of_the_arrays_is_found(folder, place):
    flip_byte(data_file(folder), place)
    with pytest.raises(InputError, match=r"damaged \(arrays-.*\.bin is not as it was written"):
        open_arrays(folder, kind=KIND)


def test_every_changed_byte_of_the_manifest_is_found(folder):
    manifest = folder / "manifest.json"
    whole = manifest.read_bytes()
    for place in range(len(whole)):
        flip_byte(manifest, place)
        with pytest.raises(InputError, match="is damaged"):
            open_arrays(folder, kind=KIND)
        manifest.write_bytes(whole)


def test_arrays_that_were_cut_off_are_found_without_reading_them(folder):
    known = open_arrays(folder, kind=KIND).sha256
    path = data_file(folder)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="has 191 bytes instead of 192"):
        open_arrays(folder, kind=KIND, known_sha256=known)


@pytest.mark.parametrize("name", ["manifest.json", "arrays-*.bin"])
def test_a_missing_file_is_named(folder, name):
    (path,) = folder.glob(name)
    path.unlink()
    with pytest.raises(InputError, match=f"is not complete: no file {path}"):
        open_arrays(folder, kind=KIND)


def test_arrays_of_another_kind_are_refused(folder):
    with pytest.raises(InputError, match="holds 'test 1', not 'test 2'; make it anew"):
        open_arrays(folder, kind="test 2")


def test_other_arrays_than_those_known_are_refused(folder):
    known = open_arrays(folder, kind=KIND).sha256
    save_arrays(folder, {"odd": np.zeros(9)}, kind=KIND, about={})
    with pytest.raises(InputError, match="was written anew while it was in use; start again"):
        open_arrays(folder, kind=KIND, known_sha256=known)
