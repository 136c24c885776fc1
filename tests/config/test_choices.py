"""The values that a config may have are those that the packages know."""

import pytest

from videokd.config import validate
from videokd.data.batch_plan import MIXES
from videokd.data.decode.choice import BACKENDS
from videokd.data.sampling import NUM_CROPS, TEST_RULES
from videokd.data.sampling.temporal import KINDS, SHORT_VIDEO_RULES
from videokd.distill.losses import FEATURE_LOSSES
from videokd.engine.loggers import LOGGERS
from videokd.engine.schedule import LR_POLICIES
from videokd.fusion.options import FINE_TUNES, STANDARDISERS, TOPOLOGIES
from videokd.models.precision import PRECISIONS
from videokd.synthetic import PROFILES


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("DATA.DECODER", BACKENDS),
        ("DATA.MIX", MIXES),
        ("DATA.SAMPLER", KINDS),
        ("DATA.SHORT_VIDEO", SHORT_VIDEO_RULES),
        ("DISTILL.FEATURE_LOSS", FEATURE_LOSSES),
        ("JOINT.FINE_TUNE", FINE_TUNES),
        ("JOINT.STANDARDISE", STANDARDISERS),
        ("JOINT.TOPOLOGY", TOPOLOGIES),
        ("SOLVER.LR_POLICY", LR_POLICIES),
        ("SYNTHETIC.PROFILE", PROFILES),
        ("TEST.CLIP_RULE", TEST_RULES),
        ("TEST.NUM_SPATIAL_CROPS", NUM_CROPS),
        ("TRAIN.LOGGERS", LOGGERS),
        ("PRECISION", PRECISIONS),
    ],
)
def test_choices_are_those_of_the_package(key, known):
    choices = {**validate._CHOICES, **validate._EACH_CHOICES, **validate._MODEL_CHOICES}[key]
    assert len(choices) == len(set(choices))
    assert set(choices) == set(known)
