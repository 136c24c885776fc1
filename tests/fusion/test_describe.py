import pytest

from videokd.fusion.describe import FusionRow, describe_joint_teacher
from videokd.fusion.options import OPERATORS


@pytest.mark.parametrize("topology", OPERATORS)
@pytest.mark.parametrize("levels", [(), ("stage2", "stage3")])
def test_rows_and_classifiers_hold_all_parameters(make_joint, topology, levels):
    joint = make_joint(topology=topology, levels=levels)
    num_classifiers = sum(p.numel() for p in joint.heads.parameters())
    num_all = sum(p.numel() for p in joint.parameters())
    assert sum(row.num_parameters for row in describe_joint_teacher(joint)) == (
        num_all - num_classifiers
    )


def test_a_pyramid_has_adaptors_of_every_expert_at_every_level(make_joint):
    rows = describe_joint_teacher(make_joint(levels=("stage2", "stage3")))
    assert [(row.level, row.expert) for row in rows] == [
        (level, expert) for level in ("stage2", "stage3", "embedding") for expert in ("a", "b", "")
    ]
    # The r3d expert at stage2: 16 channels, 2 frames, 8x8; norm 2 * 16, convolution 6 * 16 + 6.
    assert rows[0] == FusionRow("a", "stage2", (16, 2, 8, 8), (6, 2, 8, 8), 134)
    # Two adaptors and the map below, 6 channels each, come together at the student's stage3.
    assert rows[5].in_shape == (18, 1, 4, 4)
    assert rows[5].out_shape == (32, 1, 4, 4)
    assert rows[-1].in_shape == (6 + 6 + 32,)


def test_a_trunk_has_adaptors_at_its_lowest_level_only(make_joint):
    rows = describe_joint_teacher(make_joint(levels=("stage2", "stage3"), topology="trunk"))
    levels = ["stage2", "stage2", "stage2", "stage3", "embedding"]
    assert [row.level for row in rows] == levels
    assert [row.expert for row in rows] == ["a", "b", "", "", ""]
    # 3x3x3 from the fused stage2 to the student's stage3, and its norm.
    assert rows[3] == FusionRow("", "stage3", (16, 2, 8, 8), (32, 1, 4, 4), 27 * 16 * 32 + 2 * 32)
    assert rows[4] == FusionRow("", "embedding", (32,), (64,), 32 * 64 + 64)
