import pytest
from torch import nn

from videokd.config import default_config, dump_config, load_config, override_config
from videokd.config.load import RESERVED_NAMES
from videokd.utils.errors import InputError

MINIMAL = """
DATASETS: {A: {FORMAT: folder, ROOT: videos}}
EXPERTS: {A: {}}
STUDENTS: {A: {ARCH: mc3_18, WIDTH_FACTOR: 1}}
"""


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
        ("SOLVER: {STEPS: 0.5}", r"SOLVER.STEPS must be a list, like \[0.5\], got 0.5"),
        ("DATA: {TRAIN_SCALE_RANGE: 1}", r"must be a list, like \[0.5, 1.0\], got 1"),
        ("DATA: {TRAIN_SCALE_RANGE: wide}", r"must be a list, like \[0.5, 1.0\], got 'wide'"),
        ("OUTPUT_DIR: 2026_12_01", "OUTPUT_DIR must be text .*in quotes.*, got 20261201"),
        ("JOINT: {LEVELS: [true]}", r"JOINT.LEVELS must be text .*, got True"),
        (
            "DISTILL: {LOGIT_LOSS: dkd}",
            "LOGIT_LOSS must hold keys of its own, like {NAME: dkd}, got",
        ),
        ("DISTILL: {LOGIT_LOSS: {ALPHA: a}}", r"LOGIT_LOSS.ALPHA must be float .*, got 'a'"),
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
        (["SEED"], "SEED has no value; overrides are KEY VALUE or KEY=VALUE, like SEED 1"),
        (["SEED=1", "TRAIN.BATCH_SIZE"], "TRAIN.BATCH_SIZE has no value"),
        (["TEST.BATCH_SIZE", "=", "3"], "3 has no value"),
        (["SEED=x"], "the command line: SEED must be int"),
        (["DATASETS.FOO.FORMAT", "list"], "DATASETS has no FOO: declare it in .* which has A$"),
        (["EXPERTS.FOO.ARCH=x3d_s"], "EXPERTS has no FOO: declare it in .* which has A$"),
        (["VARIANTS.v.ROW=joint"], "VARIANTS has no v: declare it in .* which has none$"),
        (["DATASETS.A.FORMA=list"], r"DATASETS.A.FORMA; did you mean DATASETS.A.FORMAT\?"),
        (["SEEDS", "1"], r"the command line: unknown key SEEDS; did you mean SEED\?"),
        (["seed", "1"], r"unknown key seed; did you mean SEED\?"),
        (["DISTILL.LOGIT_LOSS", "dkd"], "it holds keys of its own: set DISTILL.LOGIT_LOSS.NAME"),
        (["DISTILL.LOGIT_LOSS.alpha", "1"], r"did you mean DISTILL.LOGIT_LOSS.ALPHA\?"),
        (["SEED", "x"], "the command line: SEED must be int"),
        (["SEED", "{[]: 1}"], "the command line: SEED must be int"),
        (["STUDENTS.B.ARCH", "r3d_18"], r"unknown key STUDENTS.B.ARCH; STUDENTS has no B"),
    ],
)
def test_a_wrong_override_is_refused(write, overrides, message):
    with pytest.raises(InputError, match=message):
        load_config(write(MINIMAL), overrides)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["SEED=3"], 3),
        (["SEED", "4", "SOLVER.BASE_LR=1e-2", "SEED=5"], 5),
        (["SOLVER.BASE_LR=0.1", "SEED", "6"], 6),
        (["DATASETS.A.GROUP_PATTERN", "a=(b)", "SEED=7"], 7),
        (["DATASETS.A.GROUP_PATTERN=a=(b)", "SEED=8"], 8),
    ],
)
def test_an_override_may_be_one_word(write, words, value):
    cfg = load_config(write(MINIMAL), words)
    assert value == cfg.SEED
    assert ("a=(b)" if "PATTERN" in str(words) else "") == cfg.DATASETS.A.GROUP_PATTERN
    assert {5: 0.01, 6: 0.1}.get(value, 0.001) == cfg.SOLVER.BASE_LR


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tensorboard", ["tensorboard"]),
        ("tensorboard,wandb", ["tensorboard", "wandb"]),
        ("[tensorboard, wandb]", ["tensorboard", "wandb"]),
        ("['tensorboard']", ["tensorboard"]),
        ("'tensorboard'", ["tensorboard"]),
        ("[]", []),
        ("", []),
    ],
)
def test_words_make_a_list_where_one_is_wanted(write, text, words):
    cfg = load_config(write(MINIMAL), ["TRAIN.LOGGERS", text])
    assert words == cfg.TRAIN.LOGGERS
    assert load_config(write(MINIMAL + "JOINT: {LEVELS: stage1}\n")).JOINT.LEVELS == ["stage1"]


@pytest.mark.parametrize("name", ["007", "1e3", "2026_12_01", "True", "[a]", "None"])
def test_a_word_that_names_something_stays_as_it_is(write, name):
    assert name == load_config(write(MINIMAL), ["OUTPUT_DIR", name]).OUTPUT_DIR


def test_a_dumped_config_loads_back_equal(write):
    overrides = ["SOLVER.BASE_LR", "1e-5", "OUTPUT_DIR", "'1e-3'", "DATA.DECODER", "pyav"]
    cfg = load_config(write(MINIMAL), overrides)
    again = load_config(write(dump_config(cfg), "dumped.yaml"))
    assert again == cfg


@pytest.mark.parametrize("name", ["../x", "a b", "1a", "a.b", "''"])
def test_a_dataset_name_that_is_no_folder_name_is_refused(write, name):
    with pytest.raises(InputError, match="a name must start with a letter"):
        load_config(write(f"DATASETS: {{{name}: {{}}}}\n"))


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
        (["SEED"], "VARIANTS.v: SEED has no value; overrides are KEY VALUE"),
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


@pytest.mark.parametrize(
    ("node", "words", "expected"),
    [
        ("{}", [], {"NAME": "kd"}),
        ("{NAME: dkd, ALPHA: 2}", [], {"NAME": "dkd", "ALPHA": 2.0}),
        ("{NAME: dkd, ALPHA: 2}", ["ALPHA", "3"], {"NAME": "dkd", "ALPHA": 3.0}),
        ("{NAME: dkd, ALPHA: 2}", ["BETA", "1e-1"], {"NAME": "dkd", "ALPHA": 2.0, "BETA": 0.1}),
        ("{NAME: dkd, ALPHA: 2}", ["NAME", "dkd"], {"NAME": "dkd", "ALPHA": 2.0}),
        ("{NAME: dkd, ALPHA: 2}", ["NAME", "dist"], {"NAME": "dist"}),
        ("{NAME: dkd, ALPHA: 2}", ["BETA", "5", "NAME", "dist"], {"NAME": "dist", "BETA": 5.0}),
    ],
)
def test_a_loss_has_options_of_its_own_which_another_name_removes(write, node, words, expected):
    path = write(MINIMAL + f"DISTILL: {{LOGIT_LOSS: {node}}}\n", "base.yaml")
    overrides = [f"DISTILL.LOGIT_LOSS.{w}" if w.isupper() else w for w in words]
    cfg = load_config(path, overrides)
    assert dict(cfg.DISTILL.LOGIT_LOSS) == expected
    assert load_config(write(dump_config(cfg), "dumped.yaml")) == cfg
    options = dict(zip(words[::2], words[1::2], strict=True))
    above = write(f"_BASE_: base.yaml\nDISTILL: {{LOGIT_LOSS: {options}}}\n", "above.yaml")
    assert load_config(above) == cfg
    assert override_config(load_config(path), overrides, source="VARIANTS.v") == cfg
