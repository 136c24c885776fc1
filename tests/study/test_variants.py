import pytest

from videokd.config import load_config
from videokd.study.variants import read_variants, variant_config
from videokd.utils.errors import InputError


@pytest.fixture
def read(write_config):
    """``read({name: node}, seeds=(0, 1, 2), wanted=())``: (config, its variants)."""

    def read(variants, seeds=(0, 1, 2), wanted=()):
        cfg = load_config(write_config(VARIANTS=variants))
        return cfg, read_variants(cfg, seeds, wanted)

    return read


def test_variants_stand_in_the_order_of_the_config(read):
    _, variants = read({"mlfd": {}, "B7": {"ROW": "B7", "TITLE": "control"}, "a": {"GROUP": "g"}})
    found = [(v.name, v.title, v.group, v.row) for v in variants]
    assert found == [
        ("mlfd", "mlfd", "main", "students"),
        ("B7", "control", "main", "B7"),
        ("a", "a", "g", "students"),
    ]


def test_some_variants_can_be_picked(read):
    _, variants = read({"a": {}, "b": {}, "c": {}}, wanted=["c", "a"])
    assert [variant.name for variant in variants] == ["a", "c"]
    with pytest.raises(InputError, match="no variant 'd' in this config; there are a, b, c"):
        read({"a": {}, "b": {}, "c": {}}, wanted=["d"])


def test_a_variant_can_take_the_first_seeds_only(read):
    _, variants = read({"a": {}, "b": {"NUM_SEEDS": 2}, "c": {"NUM_SEEDS": 9}}, seeds=(5, 3, 4))
    assert [variant.seeds for variant in variants] == [(5, 3, 4), (5, 3), (5, 3, 4)]


def test_the_config_of_a_variant_has_its_options_its_seed_and_its_baselines(read):
    cfg, variants = read({"a": {"ROW": "B4", "OPTS": ["DISTILL.W_KD", 0.25]}})
    changed = variant_config(cfg, variants, 7)
    assert (changed.DISTILL.W_KD, changed.SEED, changed.BASELINES) == (0.25, 7, ["B4"])
    assert cfg.SEED == 0


def test_a_wrong_option_names_its_variant(read):
    cfg, variants = read({"a": {"OPTS": ["DISTILL.TEACHING", "live"]}})
    with pytest.raises(InputError, match=r"VARIANTS\.a: DISTILL\.TEACHING must be one of"):
        variant_config(cfg, variants, 0)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"ROW": "B9"}, "a.ROW must be one of experts, joint, students, B1, .* got 'B9'"),
        ({"NUM_SEEDS": -1}, "a.NUM_SEEDS must be >= 0"),
        ({"OPTS": ["SEED", 3]}, "a.OPTS must not set SEED"),
        ({"OPTS": ["SEED=3"]}, "a.OPTS must not set SEED"),
        ({"OPTS": ["JOINT.WIDTH=8", "JOINT.WIDTH", 16]}, "a.OPTS sets JOINT.WIDTH twice"),
        ({"OPTS": ["JOINT.WIDTH"]}, "VARIANTS.a.OPTS: JOINT.WIDTH has no value"),
        ({"OPTS": ["VARIANTS.a.ROW", "B1"]}, "a.OPTS must not set VARIANTS.a.ROW"),
    ],
)
def test_a_variant_that_cannot_be_is_refused(read, node, message):
    with pytest.raises(InputError, match=message):
        read({"a": node})


@pytest.mark.parametrize("seeds", [(0, 0), (-1,), ()])
def test_seeds_are_named_once_and_not_negative(read, seeds):
    with pytest.raises(InputError, match="seeds must be >= 0 and named once each"):
        read({"a": {}}, seeds)


def test_a_config_without_variants_has_nothing_to_compare(read):
    with pytest.raises(InputError, match="VARIANTS is empty"):
        read({})
