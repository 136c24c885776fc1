from pathlib import Path

import pytest
from torch import nn

from videokd.config import dump_config, load_config, override_config
from videokd.config.defaults import TEMPLATES, default_config
from videokd.config.load import RESERVED_NAMES
from videokd.utils.errors import InputError

MINIMAL = """
DATASETS: {A: {FORMAT: folder, ROOT: videos}}
EXPERTS: {A: {}}
STUDENTS: {A: {ARCH: mc3_18, WIDTH_FACTOR: 1}}
"""


@pytest.fixture
def write(tmp_path):
    def write_yaml(text: str, name: str = "config.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_yaml


def test_defaults_have_at_most_150_keys():
    # What there is to know counts once: experts and students have one template, the levels one
    # kind of weight.
    nodes = [default_config(), *(template() for template in set(TEMPLATES.values()))]
    tables = [nodes[0].DISTILL.pop(name) for name in ("LEVEL_WEIGHTS", "LEVEL_SCHEDULES")]
    assert sum(len(list(_leaf_names(node))) for node in nodes) + len(tables) <= 150


def test_values_of_the_file_replace_defaults_and_named_nodes_get_the_template(write):
    cfg = load_config(write(MINIMAL + "DATA: {NUM_FRAMES: 16}\n"))
    assert cfg.DATA.NUM_FRAMES == 16
    assert cfg.DATA.SAMPLING_RATE == default_config().DATA.SAMPLING_RATE
    assert cfg.STUDENTS.A.ARCH == "mc3_18"
    assert cfg.STUDENTS.A.DROPOUT == 0.0
    assert isinstance(cfg.STUDENTS.A.WIDTH_FACTOR, float)
    assert cfg.DATASETS.A.SPLIT == 1


def test_the_config_is_frozen(write):
    with pytest.raises(AttributeError, match="immutable"):
        load_config(write(MINIMAL)).SEED = 1


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("DATA: {NUM_FRAME: 8}", "DATA.NUM_FRAME; did you mean DATA.NUM_FRAMES?"),
        ("DATA: {BATCH_SIZES: 8}", "DATA.BATCH_SIZES; did you mean"),
        ("TRAIN: {CROP_SIZE: 8}", "TRAIN.CROP_SIZE; did you mean DATA.CROP_SIZE?"),
        ("SEED: {A: 1}", "SEED.A; did you mean SEED?"),
        ("NONSENSE: 1", "NONSENSE; --print-config shows all keys"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(write, line, suggestion):
    with pytest.raises(InputError, match="config.yaml: unknown key") as error:
        load_config(write(MINIMAL + line))
    assert suggestion in str(error.value)


def test_an_unknown_key_in_a_named_node_is_named(write):
    with pytest.raises(InputError, match=r"STUDENTS.A.ARCHI; did you mean STUDENTS.A.ARCH\?"):
        load_config(write(MINIMAL.replace("ARCH:", "ARCHI:")))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("DATA: {NUM_FRAMES: eight}", r"DATA.NUM_FRAMES must be int \(like 8\), got 'eight'"),
        ("DATA: {NUM_FRAMES: 8.5}", r"DATA.NUM_FRAMES must be int \(like 8\), got 8.5"),
        ("DATA: {NUM_FRAMES: true}", r"DATA.NUM_FRAMES must be int \(like 8\), got True"),
        ("DATA: {RANDOM_FLIP: 1}", r"DATA.RANDOM_FLIP must be bool \(like True\), got 1"),
        ("SOLVER: {BASE_LR: fast}", r"SOLVER.BASE_LR must be float \(like 0.001\), got 'fast'"),
        ("SOLVER: {BASE_LR: null}", r"SOLVER.BASE_LR must be float \(like 0.001\), got None"),
        ("JOINT: {LEVELS: stage1}", r"JOINT.LEVELS must be list .*, got 'stage1'"),
        ("JOINT: {LEVELS: [true]}", r"JOINT.LEVELS must be str .*, got True"),
        ("DATA: 3", "DATA must hold keys of its own, got 3"),
        ("VARIANTS: {A: }", "VARIANTS.A must hold keys of its own, got None; write {}"),
    ],
)
def test_a_wrong_type_is_refused_with_the_value(write, line, message):
    with pytest.raises(InputError, match=message):
        load_config(write(MINIMAL + line))


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3"])
def test_a_float_may_be_written_as_yaml_does_not_know_it(write, text):
    assert load_config(write(MINIMAL + f"SOLVER: {{BASE_LR: {text}}}")).SOLVER.BASE_LR == 0.001


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


def test_overrides_beat_the_file_and_are_read_as_literals(write):
    cfg = load_config(
        write(MINIMAL + "SEED: 1\n"),
        [
            *("SEED", "7"),
            *("STUDENTS.A.ARCH", "r3d_18"),
            *("SOLVER.BASE_LR", "1e-2"),
            *("JOINT.LEVELS", "['stage1', 'stage4']"),
            *("STUDENTS.A.MEAN", "(0, 0.5, 1)"),
            *("DATA.RANDOM_FLIP", "False"),
            *("OUTPUT_DIR", "runs/007"),
        ],
    )
    assert cfg.SEED == 7
    assert cfg.STUDENTS.A.ARCH == "r3d_18"
    assert cfg.SOLVER.BASE_LR == 0.01
    assert cfg.JOINT.LEVELS == ["stage1", "stage4"]
    assert cfg.STUDENTS.A.MEAN == [0.0, 0.5, 1.0]
    assert cfg.DATA.RANDOM_FLIP is False
    assert cfg.OUTPUT_DIR == "runs/007"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["SEED"], "KEY VALUE pairs, got 1 words"),
        (["SEEDS", "1"], r"the command line: unknown key SEEDS; did you mean SEED\?"),
        (["SEED", "x"], "the command line: SEED must be int"),
        (["SEED", "{[]: 1}"], "the command line: SEED must be int"),
        (["STUDENTS.B.ARCH", "r3d_18"], r"unknown key STUDENTS.B.ARCH"),
    ],
)
def test_a_wrong_override_is_refused(write, overrides, message):
    with pytest.raises(InputError, match=message):
        load_config(write(MINIMAL), overrides)


def test_a_dumped_config_loads_back_equal(write):
    overrides = ["SOLVER.BASE_LR", "1e-5", "OUTPUT_DIR", "'1e-3'", "DATA.DECODER", "pyav"]
    cfg = load_config(write(MINIMAL), overrides)
    again = load_config(write(dump_config(cfg), "dumped.yaml"))
    assert again == cfg


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
    message = rf"config .*twice\.yaml: {key} is there twice, in {places}"
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


@pytest.mark.parametrize("name", ["../x", "a b", "1a", "a.b", "''"])
def test_a_dataset_name_that_is_no_folder_name_is_refused(write, name):
    with pytest.raises(InputError, match="a name must start with a letter"):
        load_config(write(f"DATASETS: {{{name}: {{}}}}\n"))


def _leaf_names(node):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaf_names(value)
        else:
            yield key


@pytest.mark.parametrize("name", ["train", "keys", "type"])
def test_names_that_a_module_cannot_hold_are_refused(tmp_path, name):
    path = tmp_path / "c.yaml"
    nodes = "".join(f"{s}: {{{name}: {{}}}}\n" for s in ("DATASETS", "EXPERTS", "STUDENTS"))
    path.write_text(nodes)
    with pytest.raises(InputError, match=rf"DATASETS\.{name}: the name .*; take another, like"):
        load_config(path)


def test_every_public_attribute_of_a_module_is_reserved():
    public = {name for name in dir(nn.ModuleDict()) if not name.startswith("_")}
    # transformers adds one of its own when it is imported, as other tests do.
    added = {name for name in vars(nn.Module) if not _is_of_torch(vars(nn.Module)[name])}
    assert public - added <= RESERVED_NAMES
    assert len(public - added) > 50


def _is_of_torch(attribute):
    return getattr(attribute, "__module__", "torch").startswith("torch")


def test_an_override_changes_a_frozen_copy_and_leaves_the_config(write):
    cfg = load_config(write(MINIMAL))
    before = cfg.clone()
    opts = ["SEED", 3, "JOINT.LEVELS", ["stage1"], "STUDENTS.A.ARCH", "r3d_18", "SOLVER.BASE_LR", 1]
    changed = override_config(cfg, opts, source="VARIANTS.v")
    assert cfg == before
    assert (changed.SEED, changed.JOINT.LEVELS) == (3, ["stage1"])
    assert changed.STUDENTS.A.ARCH == "r3d_18"
    assert isinstance(changed.SOLVER.BASE_LR, float)
    assert override_config(cfg, [], source="nobody") == cfg
    with pytest.raises(AttributeError, match="immutable"):
        changed.JOINT.WIDTH = 1


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SEED"], "VARIANTS.v: overrides must be KEY VALUE pairs, got 1 words"),
        (["JOINT.WIDHT", 8], r"VARIANTS.v: unknown key JOINT.WIDHT; did you mean JOINT.WIDTH\?"),
        (["JOINT.WIDTH", "wide"], "VARIANTS.v: JOINT.WIDTH must be int"),
        ([3, 4], "VARIANTS.v: unknown key 3"),
        (["JOINT.SCOPE", "none"], "VARIANTS.v: JOINT.SCOPE must be one of all, target; got 'none'"),
    ],
)
def test_a_wrong_override_names_who_says_so(write, opts, message):
    with pytest.raises(InputError, match=message):
        override_config(load_config(write(MINIMAL)), opts, source="VARIANTS.v")


def test_variants_get_the_template_of_their_own(write):
    cfg = load_config(write(MINIMAL + "VARIANTS: {v: {ROW: joint, OPTS: [JOINT.WIDTH, 8]}}\n"))
    assert cfg.VARIANTS.v.OPTS == ["JOINT.WIDTH", 8]
    assert (cfg.VARIANTS.v.GROUP, cfg.VARIANTS.v.NUM_SEEDS) == ("main", 0)
