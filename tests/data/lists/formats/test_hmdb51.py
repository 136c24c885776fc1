import logging
from pathlib import Path

import pytest

from videokd.data.lists.formats.read import count_dataset, find_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.utils.errors import InputError

REAL = Path(__file__).resolve().parents[5] / "shared" / "annotations" / "hmdb51"
ODD = "#122_[Kung_Fu]_(a)&b;c!_run_f_nm_np1_fr_med_0.avi"
PLAIN = "a_run_for_life_run_f_cm_np1_ri_goo_1.avi"
ROWS = {
    "brush_hair": [
        "x_brush_hair_u_nm_np1_ba_goo_0.avi 1 ",
        "y_brush_hair_u_nm_np1_ba_goo_0.avi 2 ",
    ],
    "run": [f"{ODD} 1 ", f"{PLAIN} 2 ", "z_run_f_cm_np1_ri_goo_1.avi 0 "],
}


@pytest.fixture
def hmdb(tmp_path):
    def make(rows=ROWS):
        annotations = tmp_path / "lists"
        annotations.mkdir()
        (annotations / "class_list.txt").touch()
        for name in rows:
            text = "".join(f"{row}\n" for row in rows[name])
            (annotations / f"{name}_test_split1.txt").write_text(text)
            for row in rows[name]:
                path = tmp_path / "videos" / name / row.rsplit(None, 1)[0]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        return tmp_path / "videos", annotations

    return make


def read(layout, split="train"):
    spec = DatasetSpec("hmdb51", root=layout[0], annotations=layout[1])
    return find_dataset(spec, name="hmdb51")[split]


def test_the_id_picks_the_part_and_labels_are_alphabetical(hmdb):
    layout = hmdb()
    assert [(r.path, r.label) for r in read(layout).records] == [
        ("brush_hair/x_brush_hair_u_nm_np1_ba_goo_0.avi", 0),
        (f"run/{ODD}", 1),
    ]
    assert [r.path for r in read(layout, "test").records][1] == f"run/{PLAIN}"


def test_fields_may_be_apart_by_a_tab_and_lines_end_in_crlf(hmdb):
    layout = hmdb()
    text = (layout[1] / "run_test_split1.txt").read_text().replace(" 1 \n", "\t1 \r\n")
    (layout[1] / "run_test_split1.txt").write_bytes(text.encode())
    assert [r.path for r in read(layout).records][1] == f"run/{ODD}"


def test_the_group_is_the_source_even_when_it_holds_the_name_of_the_class(hmdb):
    assert read(hmdb(), "test").records[1].group == "a_run_for_life"


def test_odd_characters_replaced_by_underscores_are_found_with_a_warning(hmdb, caplog):
    layout = hmdb()
    file = layout[0] / "run" / ODD
    file.rename(file.with_name("_122__Kung_Fu___a__b_c__run_f_nm_np1_fr_med_0.avi"))
    with caplog.at_level(logging.WARNING):
        index = read(layout)
    assert index.records[1].path.startswith("run/_122__Kung_Fu___a__b_c__run")
    assert "under another name" in caplog.text


def test_a_renamed_copy_in_another_container_is_found(hmdb):
    layout = hmdb()
    file = layout[0] / "run" / ODD
    name = "_122__Kung_Fu___a__b_c__run_f_nm_np1_fr_med_0.mp4"
    file.rename(file.with_name(name))
    assert read(layout).records[1].path == f"run/{name}"


def test_a_normalised_name_that_fits_two_files_is_missing(hmdb):
    layout = hmdb()
    file = layout[0] / "run" / ODD
    file.rename(file.with_name("_122__Kung_Fu___a__b_c__run_f_nm_np1_fr_med_0.avi"))
    file.with_name("-122_-Kung_Fu_-(a)-b-c-_run_f_nm_np1_fr_med_0.avi").touch()
    assert read(layout).missing == (f"run/{ODD}",)


def test_a_renamed_copy_is_not_mistaken_for_a_video_of_another_part(hmdb, caplog):
    # As in split 2 of HMDB51, but for the missing first video.
    rows = ["boom-snap-clap_clap_0.avi 1 ", "Boom_Snap_Clap_clap_0.avi 2 ", "x_clap_0.avi 1 "]
    layout = hmdb({"clap": rows})
    (layout[0] / "clap" / "boom-snap-clap_clap_0.avi").unlink()
    assert read(layout).missing == ("clap/boom-snap-clap_clap_0.avi",)
    (layout[0] / "clap" / "boom_snap_clap_clap_0.avi").touch()
    assert read(layout).records[0].path == "clap/boom_snap_clap_clap_0.avi"
    assert [r.path for r in read(layout, "test").records] == ["clap/Boom_Snap_Clap_clap_0.avi"]


@pytest.mark.parametrize("character", "#&()+-;@[]~!, ")
def test_every_odd_character_is_only_a_character(hmdb, character):
    name = f"a{character}{character}b_run_f_nm_np1_fr_med_0.avi"
    index = read(hmdb({"run": [f"{name} 1 ", "aab_run_f_nm_np1_fr_med_0.avi 2 "]}))
    assert [(r.path, r.group) for r in index.records] == [
        (f"run/{name}", f"a{character}{character}b")
    ]


def test_a_source_in_train_and_test_is_warned_of(hmdb, caplog):
    layout = hmdb({"run": ["x_run_f_0.avi 1 ", "x_run_f_1.avi 2 "]})
    with caplog.at_level(logging.WARNING):
        read(layout)
    assert "shares (class, group) pairs, 1 with test, e.g. group x of class 0" in caplog.text


def test_a_class_whose_list_was_lost_is_named_before_it_shifts_the_labels(hmdb):
    layout = hmdb()
    (layout[1] / "cartwheel_test_split2.txt").touch()
    with pytest.raises(InputError, match="no file 'cartwheel_test_split1.txt', but lists of"):
        read(layout)


@pytest.mark.parametrize("row", ["a_run_f.avi", "a_run_f.avi 3", "x/a_run_f.avi 1"])
def test_a_malformed_row_is_named(hmdb, row):
    rows = {"run": [ROWS["run"][0]]}
    layout = hmdb(rows)
    (layout[1] / "run_test_split1.txt").write_text(f"\n{row}\n")
    with pytest.raises(InputError, match=rf"run_test_split1.txt row 2: '{row}' must be"):
        read(layout)


def test_a_video_listed_twice_is_an_error(hmdb):
    layout = hmdb({"run": ["a_run_f.avi 1", "a_run_f.avi 2"]})
    with pytest.raises(InputError, match=r"split1.txt row 2: run/a_run_f.avi is listed twice"):
        read(layout)


def test_a_folder_without_lists_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"has no file '<class>_test_split2.txt'"):
        count_dataset(DatasetSpec("hmdb51", annotations=tmp_path, split_number=2))


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/annotations is not here")
@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_real_lists_have_their_known_sizes_and_no_shared_source(split, caplog):
    counts = count_dataset(DatasetSpec("hmdb51", annotations=REAL, split_number=split))
    assert counts == {"train": 3570, "test": 1530, "classes": 51}
    assert "shares" not in caplog.text
