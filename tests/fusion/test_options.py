import pytest

from videokd.fusion.options import FusionOptions
from videokd.utils.errors import InputError


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("topology", "pyramid, trunk"),
        ("standardise", "none, batch_norm, running, phi_s"),
        ("fine_tune", "none, last_stage, all"),
    ],
)
def test_an_unknown_choice_is_refused_with_the_known_ones(name, known):
    with pytest.raises(InputError, match=f"{name} must be one of {known}, got 'tree'"):
        FusionOptions(**{name: "tree"})


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_a_probability_out_of_range_is_refused(value):
    with pytest.raises(InputError, match=r"expert_drop must lie in \[0, 1\), got"):
        FusionOptions(expert_drop=value)
