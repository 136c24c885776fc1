import re
from pathlib import Path

import pytest

from videokd.config import default_config, named_node
from videokd.config.checks import check_config
from videokd.config.keys import KEYS, NAMED_SECTIONS, find_key
from videokd.config.schema import AFFECTS, Key, leaves
from videokd.config.training_keys import LEVELS
from videokd.utils.errors import InputError

ROOT = Path(__file__).parents[2]


def test_every_key_is_read_somewhere():
    files = [
        *(ROOT / "videokd").rglob("build.py"),
        *(
            p
            for room in ("pipeline", "study", "cli")
            for p in (ROOT / "videokd" / room).rglob("*.py")
        ),
    ]
    readers = "\n".join(path.read_text() for path in files)
    unread = []
    for name in KEYS:
        # Levels and options of losses are read as a whole.
        parts = [part for part in name.split(".") if part not in (*LEVELS, "<OPTION>")]
        # Attribute access only: a key that is merely named in a message is not read.
        if not re.search(rf"\.{parts[-1]}\b(?!\.yaml)", readers):
            unread.append(name)
    assert not unread


def test_every_entry_is_complete():
    for key in KEYS.values():
        assert key.affects in AFFECTS, key.name
        assert "\n" not in key.help, key.name
        assert key.help[-1] not in ".;", key.name
        for other in (key.inherits, key.needs.partition(" ")[0]):
            assert not other or other in KEYS, key.name
        # Numbers have a range or choices.
        is_number = type(key.default) in (int, float) and not key.is_option
        assert not is_number or key.choices or key.limits, key.name


def test_there_are_at_most_150_keys():
    # Experts and students have the same keys, and levels the same kinds of weights and losses.
    names = {re.sub(r"stage\d|embedding", "<LEVEL>", name) for name in KEYS}
    assert len({name.replace("EXPERTS", "STUDENTS") for name in names}) <= 150


def test_the_defaults_of_the_table_are_allowed():
    cfg = default_config()
    for section in NAMED_SECTIONS:
        cfg[section]["A"] = named_node(section)
    check_config(cfg)
    names = {name.replace(".A.", ".<NAME>.") for name, _ in leaves(cfg)}
    assert names == {name for name in KEYS if not KEYS[name].is_option}
    assert default_config().BASELINES is not default_config().BASELINES


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("SEED", "SEED"),
        ("EXPERTS.UCF.ARCH", "EXPERTS.<NAME>.ARCH"),
        ("DISTILL.LOGIT_LOSS.ALPHA", "DISTILL.LOGIT_LOSS.<OPTION>"),
        ("DISTILL.FEATURE_LOSS_AT.stage4.NAME", "DISTILL.FEATURE_LOSS_AT.stage4.NAME"),
        ("DISTILL.FEATURE_LOSS_AT.stage5.BETA", None),
        ("DISTILL.LOGIT_LOSS.alpha", None),
        ("DISTILL.LOGIT_LOSS", None),
        ("EXPERTS.UCF", None),
        ("EXPERTS.UCF.ARCHI", None),
        ("3", None),
    ],
)
def test_a_name_is_found_in_the_table(name, found):
    key = find_key(name)
    assert (key and key.name) == found


@pytest.mark.parametrize(
    ("allowed", "default", "good", "bad", "message"),
    [
        ("a | b", "a", "b", "c", "X must be one of a, b; got 'c'"),
        ("1 | 3", 1, 3, 2, "X must be one of 1, 3; got 2"),
        ("a | b", ["a"], [], ["a", "c"], "X must be one of a, b; got 'c'"),
        ("0 .. 1", 0.5, 0, 1.5, "X must be >= 0 and <= 1, got 1.5"),
        (">0 .. 1", 0.5, 1, 0, "X must be > 0 and <= 1, got 0"),
        ("1 ..", 1, 1000000, 2000000, r"X must be >= 1 and <= 1e\+06, got 2000000"),
        ("0 ..", 0.0, 0.0, float("nan"), "X must be >= 0 .*, got nan"),
    ],
)
def test_a_value_is_checked_by_what_is_allowed(allowed, default, good, bad, message):
    key = Key("X", default, allowed, "nothing", "help")
    key.check("X", good)
    with pytest.raises(InputError, match=message):
        key.check("X", bad)
