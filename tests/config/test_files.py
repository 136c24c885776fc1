import pytest

from videokd.config import load_config
from videokd.utils.errors import InputError

MINIMAL = """
DATASETS: {A: {FORMAT: folder, ROOT: videos}}
EXPERTS: {A: {}}
STUDENTS: {A: {ARCH: mc3_18, WIDTH_FACTOR: 1}}
"""


def test_bases_are_merged_in_order_and_the_file_has_the_last_word(write):
    write(MINIMAL + "SEED: 1\nDATA: {NUM_FRAMES: 4, SAMPLING_RATE: 2}\n", "one.yaml")
    write("SEED: 2\nDATA: {NUM_FRAMES: 16}\n", "two.yaml")
    cfg = load_config(write("_BASE_: [one.yaml, two.yaml]\nDATA: {SAMPLING_RATE: 8}\n"))
    assert (cfg.SEED, cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE) == (2, 16, 8)


def test_a_base_names_files_relative_to_the_file_that_names_it(write, tmp_path):
    (tmp_path / "sub").mkdir()
    write(MINIMAL + "SEED: 5\n", "root.yaml")
    write("_BASE_: ../root.yaml\n", "sub/middle.yaml")
    assert load_config(write("_BASE_: sub/middle.yaml\n")).SEED == 5


def test_changing_one_of_several_aliased_nodes_leaves_the_others(write):
    write(
        "DATASETS: {A: {}, B: {}}\n"
        "EXPERTS: {A: &model {ARCH: r3d_18}, B: *model}\n"
        "STUDENTS: {A: *model, B: *model}\n",
        "base.yaml",
    )
    cfg = load_config(write("_BASE_: base.yaml\nSTUDENTS: {B: {ARCH: mc3_18}}\n"))
    assert [cfg.EXPERTS.A.ARCH, cfg.EXPERTS.B.ARCH] == ["r3d_18", "r3d_18"]
    assert [cfg.STUDENTS.A.ARCH, cfg.STUDENTS.B.ARCH] == ["r3d_18", "mc3_18"]


def test_a_circle_of_bases_is_refused(write):
    write("_BASE_: config.yaml\n", "other.yaml")
    with pytest.raises(InputError, match="is its own _BASE_; remove the circle"):
        load_config(write("_BASE_: other.yaml\n"))


def test_two_bases_may_share_a_base(write):
    write(MINIMAL + "SEED: 3\n", "root.yaml")
    write("_BASE_: root.yaml\n", "left.yaml")
    write("_BASE_: root.yaml\n", "right.yaml")
    assert load_config(write("_BASE_: [left.yaml, right.yaml]\n")).SEED == 3


@pytest.mark.parametrize("base", ["3", "[1]", "{a: b}", "null"])
def test_a_base_that_is_no_file_name_is_refused(write, base):
    with pytest.raises(InputError, match="_BASE_ must be a file name or a list of them"):
        load_config(write(MINIMAL + f"_BASE_: {base}\n"))


@pytest.mark.parametrize(
    "text",
    [
        "OUTPUT_DIR: !!python/object/apply:os.system ['touch owned']",
        "OUTPUT_DIR: !!python/name:os.system",
        "_BASE_: !!python/object/new:os.system ['touch owned']",
    ],
)
def test_yaml_cannot_name_code(write, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is not plain YAML"):
        load_config(write(text))
    assert not (tmp_path / "owned").exists()


def test_a_base_cannot_be_fetched_from_the_net(write):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_config(write("_BASE_: http://localhost/a.yaml\n"))


def test_files_that_are_no_config_are_refused_in_one_line(write, tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path, message in [
        (tmp_path / "absent.yaml", "cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "binary.yaml", "is not UTF-8 text"),
        (write("[1, 2]"), "must hold KEY: value lines, got list"),
        (write("a: [", "broken.yaml"), "is not plain YAML"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            load_config(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "key", "places"),
    [
        (
            "DATA: {NUM_FRAMES: 16}\nSEED: 1\nDATA: {MAX_BAD_FRACTION: 0.1}\n",
            "DATA",
            "line 1, column 1 and in line 3, column 1",
        ),
        ("DATA:\n  NUM_FRAMES: 8\n  'NUM_FRAMES': 8\n", "NUM_FRAMES", "line 2, .* line 3, "),
        (
            "EXPERTS: {A: {}, A: {ARCH: r3d_18}}",
            "A",
            "line 1, column 11 and in line 1, column 18",
        ),
        ("_BASE_: a.yaml\n_BASE_: b.yaml\n", "_BASE_", "line 1, column 1 and in line 2, column 1"),
        ("VARIANTS:\n  v: {OPTS: []}\n  v: {}\n", "v", "line 2, .* line 3, "),
    ],
)
@pytest.mark.parametrize("is_base", [False, True])
def test_a_key_that_is_there_twice_is_refused_with_both_places(write, text, key, places, is_base):
    path = write(text, "twice.yaml")
    if is_base:
        path = write(f"_BASE_: twice.yaml\n{MINIMAL}")
    message = rf"config .*twice\.yaml: {key} appears twice, in {places}"
    with pytest.raises(InputError, match=message):
        load_config(path)


def test_a_key_of_a_merged_node_may_be_written_again(write):
    cfg = load_config(
        write(
            "DATASETS: {A: {}, B: {}}\n"
            "EXPERTS: {A: &a {ARCH: r3d_18, DROPOUT: 0.5}, B: &b {<<: *a, DROPOUT: 0.1}}\n"
            "STUDENTS: {A: {<<: *b, ARCH: mc3_18}, B: {<<: *b}}\n"
        )
    )
    assert [cfg.EXPERTS.B.ARCH, cfg.EXPERTS.B.DROPOUT] == ["r3d_18", 0.1]
    assert [cfg.STUDENTS.A.ARCH, cfg.STUDENTS.A.DROPOUT] == ["mc3_18", 0.1]
