import re
from pathlib import Path

import yaml

from videokd.config import load_config
from videokd.config.describe import describe_config, describe_keys, resolve_config
from videokd.config.keys import KEYS, find_key
from videokd.config.schema import leaves

ROOT = Path(__file__).parents[2]
CONFIG = """
DATASETS: {A: {ROOT: $$videos}, B: {}}
EXPERTS: {A: {BASE_LR: 0.1}, B: {TRAIN: False, WEIGHTS: b.pth}}
STUDENTS: {A: {NUM_FRAMES: 4}, B: {}}
SOLVER: {MAX_EPOCH: 7}
DISTILL:
  FEATURE_LOSS: {NAME: smooth_l1_cosine, BETA: 2.0}
  FEATURE_LOSS_AT: {stage2: {NAME: mse}}
VARIANTS: {v: {OPTS: [SEED, 1]}}
"""


def test_the_page_is_what_the_command_writes():
    assert (ROOT / "docs" / "config.md").read_text() == describe_keys(), (
        "run python -m videokd.config.describe > docs/config.md"
    )


def test_values_that_stand_for_others_are_resolved(write):
    cfg = load_config(write(CONFIG))
    resolved = dict(leaves(resolve_config(cfg)))
    changed = {name: resolved[name] for name, value in leaves(cfg) if resolved.get(name) != value}
    expected = {
        **dict.fromkeys(("JOINT.MAX_EPOCH", "EXPERTS.A.MAX_EPOCH", "STUDENTS.A.MAX_EPOCH"), 7),
        "STUDENTS.B.MAX_EPOCH": 7,
        **dict.fromkeys(("JOINT.BASE_LR", "STUDENTS.A.BASE_LR", "STUDENTS.B.BASE_LR"), 0.001),
        **{f"{node}.NUM_FRAMES": 8 for node in ("EXPERTS.A", "EXPERTS.B", "STUDENTS.B")},
        **{
            f"{section}.{name}.{key}": value
            for section in ("EXPERTS", "STUDENTS")
            for name in "AB"
            for key, value in (("SAMPLING_RATE", 4), ("CROP_SIZE", 112))
        },
        **{
            f"DISTILL.FEATURE_LOSS_AT.{level}.NAME": "smooth_l1_cosine"
            for level in ("stage1", "stage3", "stage4", "embedding")
        },
        "JOINT.EXPERTS": ["A", "B"],
        "JOINT.SHAPES_FROM": "A",
    }
    assert changed == expected
    assert resolved["DISTILL.FEATURE_LOSS_AT.stage4.BETA"] == 2.0
    assert "DISTILL.FEATURE_LOSS_AT.stage2.BETA" not in resolved
    assert resolve_config(resolve_config(cfg)) == resolve_config(cfg)


def test_a_described_config_explains_every_key_once_and_loads_back(write):
    cfg = load_config(write(CONFIG))
    resolved = resolve_config(cfg)
    text = describe_config(resolved, cfg)
    assert load_config(write(text, "described.yaml")) == resolved
    assert all(len(line) <= 100 for line in text.splitlines())
    words = " ".join(text.replace("# ", "").split())
    for name, _ in leaves(resolved):
        assert words.count(" ".join(find_key(name).help.split())) >= 1, name
    assert text.count("factor on the channels") == 1
    assert "NUM_FRAMES: 8" in text
    assert text.count("given as") == len(re.findall("given as", text)) > 10
    assert yaml.safe_load(text)["DATASETS"]["A"]["ROOT"] == "$$videos"


def test_the_page_has_every_key_once():
    rows = [line.split("`")[1] for line in describe_keys().splitlines() if line.startswith("| `")]
    names = {re.sub(r"stage\d|embedding", "<LEVEL>", name) for name in KEYS}
    assert len(rows) == len([name for name in names if not name.startswith("STUDENTS")])
    assert {"SEED", "ARCH", "LEVEL_WEIGHTS.<LEVEL>", "LOGIT_LOSS.<OPTION>"} <= set(rows)
