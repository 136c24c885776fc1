"""The values that a config may have are those that the packages know."""

import re

import pytest

from videokd.config.keys import KEYS
from videokd.config.training_keys import LEVELS
from videokd.data.augment import NUM_CROPS
from videokd.data.batch_plan import MIXES
from videokd.data.decode.choice import BACKENDS
from videokd.data.sampling import KINDS, SHORT_VIDEO_RULES, TEST_RULES
from videokd.distill.losses import FEATURE_LOSSES, LOGIT_LOSSES
from videokd.engine.loggers import LOGGERS
from videokd.engine.schedule import LR_POLICIES
from videokd.fusion.options import FINE_TUNES, OPERATORS, STANDARDISERS
from videokd.models.levels import LEVEL_NAMES
from videokd.models.precision import PRECISIONS
from videokd.pipeline.baselines import BASELINES
from videokd.synthetic import PROFILES


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("BASELINES", BASELINES),
        ("DATA.DECODER", BACKENDS),
        ("DATA.MIX", MIXES),
        ("DATA.SAMPLER", KINDS),
        ("DATA.SHORT_VIDEO", SHORT_VIDEO_RULES),
        ("JOINT.FINE_TUNE", FINE_TUNES),
        ("JOINT.STANDARDISE", STANDARDISERS),
        ("JOINT.TOPOLOGY", tuple(OPERATORS)),
        ("JOINT.LEVELS", LEVEL_NAMES),
        ("SOLVER.LR_POLICY", LR_POLICIES),
        ("SYNTHETIC.PROFILE", PROFILES),
        ("TEST.CLIP_RULE", TEST_RULES),
        ("TEST.NUM_SPATIAL_CROPS", NUM_CROPS),
        ("TRAIN.LOGGERS", LOGGERS),
        ("EXPERTS.<NAME>.PRECISION", PRECISIONS),
    ],
)
def test_choices_are_those_of_the_package(key, known):
    choices = KEYS[key].choices
    assert len(choices) == len(set(choices))
    assert set(choices) == set(known)


def test_levels_are_those_of_the_models():
    assert (*LEVEL_NAMES, "embedding") == LEVELS


@pytest.mark.parametrize(
    ("key", "losses"), [("LOGIT_LOSS", LOGIT_LOSSES), ("FEATURE_LOSS", FEATURE_LOSSES)]
)
def test_losses_and_their_options_are_named_in_the_help(key, losses):
    names, options = (KEYS[f"DISTILL.{key}.{leaf}"].help for leaf in ("NAME", "<OPTION>"))
    assert all(name in names for name in losses)
    known = [option.upper() for entry in losses.values() for option in entry.ranges]
    assert re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", options) == known
