import pytest
import torch

from videokd.models.families import timm_frames as family
from videokd.models.plain.timm_frames import ShiftedConv2d, shift_in_time
from videokd.models.zoo import get_architecture

timm = pytest.importorskip("timm")

NAMED = sorted(family.FAMILY.sizes)
TINY = [
    *("timm:test_resnet", "timm:test_efficientnet", "timm:test_convnext", "timm:test_vit"),
    *("timm-tsm:test_resnet", "timm-tsm:mobilenetv3_small_050"),
]
# (C, stride over H and W) of each level; T is kept.
LEVELS = {
    "test_resnet": [(32, 4), (48, 8), (192, 16), (96, 32)],
    "test_efficientnet": [(24, 4), (32, 8), (48, 16), (64, 32)],
    "test_convnext": [(24, 4), (32, 8), (48, 16), (64, 32)],
    "test_vit": [(64, 16)] * 4,
    "mobilenetv3_small_050": [(8, 4), (16, 8), (24, 16), (288, 32)],
}


def test_a_shift_is_what_the_loop_over_frames_and_channels_gives():
    num_clips, num_frames, channels = 2, 4, 19  # an eighth of 19 is 2
    frames = torch.randn(num_clips * num_frames, channels, 3, 2)
    result = shift_in_time(frames, num_frames).view(num_clips, num_frames, channels, 3, 2)
    clips = frames.view(num_clips, num_frames, channels, 3, 2)
    for t in range(num_frames):
        for c in range(channels):
            source = t + 1 if c < 2 else t - 1 if c < 4 else t
            inside = 0 <= source < num_frames
            expected = clips[:, source, c] if inside else torch.zeros(num_clips, 3, 2)
            assert torch.equal(result[:, t, c], expected)


def test_a_single_frame_keeps_its_channels_but_for_those_that_would_come_from_others():
    frames = torch.randn(3, 16, 2, 2)
    result = shift_in_time(frames, 1)
    assert not result[:, :4].any()
    assert torch.equal(result[:, 4:], frames[:, 4:])


def test_a_shift_keeps_the_memory_layout():
    frames = torch.randn(4, 16, 3, 3).to(memory_format=torch.channels_last)
    assert shift_in_time(frames, 2).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            "resnet50",
            [f"layer{i}.{j}.conv1" for i, n in enumerate([3, 4, 6, 3], 1) for j in range(n)],
        ),
        ("mobilenetv2_100", [f"blocks.{i}.{j}.conv_pw" for i, j in [(1, 1), (2, 1), (2, 2)]]),
        ("resnet101", ["layer1.0.conv1", "layer1.2.conv1", "layer2.0.conv1", "layer2.2.conv1"]),
    ],
)
def test_residual_branches_are_shifted_where_tsm_does_it(model, expected):
    with torch.device("meta"):
        net = get_architecture(f"timm-tsm:{model}", num_frames=8, crop_size=32).build_plain(3).net
    shifted = [name for name, m in net.named_modules() if isinstance(m, ShiftedConv2d)]
    assert shifted[: len(expected)] == expected
    assert len(shifted) == {"resnet50": 16, "resnet101": 18, "mobilenetv2_100": 10}[model]
