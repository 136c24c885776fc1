import pickle
import random
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from videokd.data.lists.records import _FIELDS, KIND, RecordTable, VideoRecord
from videokd.utils.errors import InputError

ODD_NAMES = (
    *("a # b.avi", "c;d[1].avi", "e & f!.mp4", "gr\u00fc\u00dfe.webm", "\u65e5 \U0001f3be.mkv"),
    *('quote".mov', "not utf-8 \udcff.avi", "new\nline.avi", "zero\0.avi", ""),
)


def make_records(num_records):
    return tuple(
        VideoRecord(
            f"k{n % 3}/{n}_{ODD_NAMES[n % 10]}",
            n % 3,
            "odd \u00e9",
            ("", "g 1", "\u00e9", "z", "B")[n * n % 5],
            n,
            n / 7,
            "" if n % 4 else f"frame {n} cannot be decoded",
        )
        for n in range(num_records)
    )


@pytest.fixture(params=["in memory", "saved"])
def table(request, tmp_path):
    made = RecordTable.from_records(make_records(42))
    if request.param == "in memory":
        return made
    made.save(tmp_path / "new" / "table")
    return RecordTable.open(tmp_path / "new" / "table")


def test_a_table_is_the_tuple_of_its_records(table):
    records = make_records(42)
    assert len(table) == 42
    assert tuple(table) == records
    assert tuple(table[n] for n in range(-42, 42)) == records * 2
    assert (table.index(records[5]), records[7] in table) == (5, True)
    assert tuple(reversed(table)) == records[::-1]


@pytest.mark.parametrize("place", [42, -43])
def test_a_place_outside_is_an_index_error(table, place):
    with pytest.raises(IndexError, match=f"index {place} is out of bounds"):
        table[place]


def test_selections_of_selections_are_those_of_the_tuple(table):
    rng, expected, chosen = random.Random(0), make_records(42), table
    for _ in range(4):
        places = [rng.randrange(len(expected)) for _ in range(20)]
        expected, chosen = tuple(expected[n] for n in places)[1::2], chosen.take(places)[1::2]
        expected, chosen = (*expected, *expected), chosen.take([*range(10), *range(10)])
        assert tuple(chosen) == expected
    assert tuple(table[:0]) == ()


def test_values_have_the_types_of_a_record(table):
    types = [type(value) for value in next(table.select(*_FIELDS))]
    assert types == [str, int, str, str, int, float, str]


def test_numbers_of_a_field_of_names_are_in_the_order_of_the_names(table):
    ranks = np.unique(table.numbers("group"), return_inverse=True)[1].tolist()
    names = sorted({record.group for record in make_records(42)})
    assert [names[rank] for rank in ranks] == [record.group for record in table]
    np.testing.assert_array_equal(table[::2].numbers("label"), [n % 3 for n in range(0, 42, 2)])


def test_tables_are_equal_when_their_rows_are(table):
    assert table == RecordTable.from_records(make_records(42))
    assert table[1:] == RecordTable.from_records(make_records(42)[1:])
    assert table != table[1:]
    assert table != table.take([*range(41), 0])
    assert table != make_records(42)


def test_a_table_of_nothing_is_kept_too(tmp_path):
    RecordTable.from_records(()).save(tmp_path / "a.records")
    assert tuple(RecordTable.open(tmp_path / "a.records")) == ()


def test_selected_rows_are_saved_alone(table, tmp_path):
    table[10:13].save(tmp_path / "part", about={"key": 1})
    part = RecordTable.open(tmp_path / "part")
    assert tuple(part) == make_records(42)[10:13]
    assert part.about == {"key": 1}


@pytest.mark.parametrize("copies", [lambda t: t, lambda t: t[3:30:2]], ids=["whole", "selection"])
def test_a_copy_by_pickle_has_the_same_rows(table, copies):
    assert pickle.loads(pickle.dumps(copies(table))) == copies(table)


def test_a_saved_table_pickles_as_its_folder_however_many_rows_it_has(tmp_path):
    RecordTable.from_records(make_records(20_000)).save(tmp_path / "a.records")
    table = RecordTable.open(tmp_path / "a.records")
    assert len(pickle.dumps(table)) < 1000
    assert len(pickle.dumps(table[:10_000])) < 1000 + 4 * 10_000


def test_a_relative_folder_is_found_from_elsewhere_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RecordTable.from_records(make_records(3)).save(tmp_path / "here")
    data = pickle.dumps(RecordTable.open((tmp_path / "here").relative_to(tmp_path)))
    monkeypatch.chdir("/")
    assert tuple(pickle.loads(data)) == make_records(3)


def _map_of_this_process(table):
    with open("/proc/self/maps") as maps:
        return len(table), [line for line in maps if "a.records" in line]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc/self/maps")
def test_another_process_maps_the_same_file_instead_of_a_copy(tmp_path):
    RecordTable.from_records(make_records(100)).save(tmp_path / "a.records")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        num_rows, maps = pool.submit(
            _map_of_this_process, RecordTable.open(tmp_path / "a.records")
        ).result()
    assert num_rows == 100
    assert all(line.split()[1] == "r--s" and str(tmp_path) in line for line in maps)
    assert maps


def test_a_table_that_was_replaced_does_not_become_another_one_in_a_worker(tmp_path):
    RecordTable.from_records(make_records(10)).save(tmp_path / "a.records")
    table = RecordTable.open(tmp_path / "a.records")
    data = pickle.dumps(table)
    RecordTable.from_records(make_records(9)).save(tmp_path / "a.records")
    assert tuple(table) == make_records(10)
    with pytest.raises(InputError, match="was written anew while it was in use"):
        pickle.loads(data)


def test_a_record_of_kinetics_takes_less_than_150_bytes(tmp_path):
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
    ids = ["".join(rng.choices(letters, k=11)) for _ in range(5000)]
    # The longest label of Kinetics-700, and a group of its own for each video.
    folder = "train/passing American football (not in game)"
    records = [
        VideoRecord(f"{folder}/{name}_000012_000022.mp4", n % 700, "KINETICS", name, 300, 29.97)
        for n, name in enumerate(ids)
    ]
    RecordTable.from_records(records).save(tmp_path / "a.records")
    assert (tmp_path / "a.records").stat().st_size / len(records) < 150


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.records"
    RecordTable.from_records(make_records(3)).save(path, about={"names": ["a", "\u00e9"]})
    return path


def test_the_values_of_a_file_cannot_be_changed(file):
    table = RecordTable.open(file)
    assert table.about == {"names": ["a", "\u00e9"]}
    with pytest.raises(ValueError, match="read-only"):
        table._arrays["label"][0] = 1


def test_every_changed_byte_of_a_file_is_found(file):
    whole = file.read_bytes()
    for position in range(0, len(whole), 7):
        data = bytearray(whole)
        data[position] ^= 1
        file.write_bytes(data)
        with pytest.raises(InputError, match=r"a.records is damaged .*; delete it and make it"):
            RecordTable.open(file)


@pytest.mark.parametrize("num_bytes", [0, 10, 64, 300, -1])
def test_a_file_that_was_cut_off_is_found_by_a_worker_too(file, num_bytes):
    data = pickle.dumps(RecordTable.open(file))
    file.write_bytes(file.read_bytes()[:num_bytes])
    for read in (lambda: RecordTable.open(file), lambda: pickle.loads(data)):
        with pytest.raises(InputError, match=r"a.records (is damaged|was written anew)"):
            read()


def test_a_file_of_another_kind_and_no_file_are_refused(file, monkeypatch):
    monkeypatch.setattr("videokd.data.lists.records.KIND", "records 9")
    with pytest.raises(InputError, match=f"holds '{KIND}', not 'records 9'; make it anew"):
        RecordTable.open(file)
    file.unlink()
    with pytest.raises(InputError, match=r"a.records does not exist; make it anew"):
        RecordTable.open(file)


def test_a_write_that_was_cut_off_leaves_the_old_table(file, monkeypatch):
    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        RecordTable.from_records(make_records(2)).save(file)
    assert tuple(RecordTable.open(file)) == make_records(3)
