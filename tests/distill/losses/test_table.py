import inspect

import pytest
import torch

from videokd.distill.losses import FEATURE_LOSSES, LOGIT_LOSSES, attention_transfer, relational
from videokd.distill.losses.table import make_feature_loss, make_logit_loss, resolve_options
from videokd.utils.errors import InputError

TABLES = [(FEATURE_LOSSES, name) for name in FEATURE_LOSSES]
TABLES += [(LOGIT_LOSSES, name) for name in LOGIT_LOSSES]
every_entry = pytest.mark.parametrize(("table", "name"), TABLES, ids=[name for _, name in TABLES])


@every_entry
def test_the_options_are_all_arguments_with_defaults_and_defaults_are_in_range(table, name):
    entry = table[name]
    parameters = inspect.signature(entry.function).parameters.values()
    assert list(entry.ranges) == [p.name for p in parameters if p.default is not p.empty]
    assert resolve_options(table, name, entry.defaults, key="LOSS") == entry.defaults
    assert resolve_options(table, name, {}, key="LOSS") == entry.defaults


@every_entry
def test_a_loss_is_a_mean_over_clips_unless_its_entry_says_that_it_compares_clips(table, name):
    student, teacher = torch.randn(2, 6, 5)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    if table is LOGIT_LOSSES:
        loss, inputs = make_logit_loss(name, temperature=2.0), (student, teacher, labels)
    else:
        loss, inputs = make_feature_loss(name), (student, teacher)
    each = [loss(*(value[i : i + 1] for value in inputs)) for i in range(6)]
    is_mean = torch.allclose(torch.stack(each).mean(), loss(*inputs), rtol=1e-4)
    assert is_mean == (not table[name].compares_clips)


@every_entry
@pytest.mark.parametrize("bad", ["high", "low", "text"])
def test_values_out_of_range_are_refused_with_the_range(table, name, bad):
    for option, (low, high) in table[name].ranges.items():
        value = {"high": high + 1, "low": low - 1, "text": "1.0"}[bad]
        with pytest.raises(InputError, match=rf"DISTILL.X.{option.upper()} must be >= 0 and <= "):
            resolve_options(table, name, {option: value}, key="DISTILL.X")


def test_an_unknown_loss_or_option_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"DISTILL.X.NAME must be one of kd, dkd, dist; got 'kl'"):
        resolve_options(LOGIT_LOSSES, "kl", {}, key="DISTILL.X")
    match = r"DISTILL.X.GAMMA is not an option of dkd, whose options are: ALPHA, BETA; remove it, "
    with pytest.raises(InputError, match=match):
        resolve_options(LOGIT_LOSSES, "dkd", {"gamma": 1.0}, key="DISTILL.X")
    with pytest.raises(InputError, match="ALPHA is not an option of kd, whose options are: none"):
        resolve_options(LOGIT_LOSSES, "kd", {"alpha": 1.0}, key="DISTILL.X")


def test_a_made_loss_has_its_options():
    student, teacher = torch.randn(2, 4, 5)
    options = {"distance_weight": 25.0, "angle_weight": 50.0}
    expected = relational(student, teacher, **options)
    assert torch.equal(make_feature_loss("relational", **options)(student, teacher), expected)
    expected = attention_transfer(student, teacher)
    assert torch.equal(make_feature_loss("attention")(student, teacher), expected)
