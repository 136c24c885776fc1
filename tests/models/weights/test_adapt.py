import pytest
import torch
from torch.nn.functional import conv2d, conv3d

from videokd.models.weights.adapt import adapt
from videokd.models.weights.positions import Clip


def _kernel_of(clip, kernel):
    return conv3d(clip, kernel, padding=(0, 1, 1))


def test_an_inflated_kernel_gives_on_equal_frames_what_the_2d_kernel_gives_on_one():
    kernel, frame = torch.randn(4, 3, 3, 3).double(), torch.randn(2, 3, 8, 8).double()
    inflated = adapt("conv.weight", kernel, (4, 3, 5, 3, 3))
    assert inflated.how == "inflated"
    clip = frame.unsqueeze(2).repeat(1, 1, 7, 1, 1)
    expected = conv2d(frame, kernel, padding=1)
    for each in _kernel_of(clip, inflated.value).unbind(2):
        torch.testing.assert_close(each, expected)


@pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 1)])
def test_a_kernel_of_other_length_gives_the_same_on_equal_frames(old, new):
    kernel, frame = torch.randn(4, 6, old, 3, 3).double(), torch.randn(2, 6, 8, 8).double()
    adapted = adapt("conv.weight", kernel, (4, 6, new, 3, 3))
    clip = frame.unsqueeze(2).repeat(1, 1, 3, 1, 1)
    torch.testing.assert_close(
        _kernel_of(clip, adapted.value)[:, :, 0], _kernel_of(clip, kernel)[:, :, 0]
    )


@pytest.mark.parametrize("channels", [1, 2, 10])
def test_a_first_kernel_of_other_channels_gives_the_same_where_all_are_equal(channels):
    kernel, plane = torch.randn(4, channels, 1, 3, 3).double(), torch.randn(1, 1, 1, 8, 8).double()
    adapted = adapt("stem.weight", kernel, (4, 3, 3, 3, 3))
    assert adapted.how == f"{channels} channels to 3, inflated"
    expected = _kernel_of(plane.repeat(1, channels, 1, 1, 1), kernel)
    found = _kernel_of(plane.repeat(1, 3, 3, 1, 1), adapted.value)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("old", "new"), [((6, 4), (6, 4, 1, 1, 1)), ((6, 4, 1, 1, 1), (6, 4)), ((5, 1), (5,))]
)
def test_ones_at_the_end_of_a_shape_make_no_difference(old, new):
    value = torch.randn(old)
    adapted = adapt("proj.weight", value, new)
    assert adapted.value.shape == new
    assert torch.equal(adapted.value.flatten(), value.flatten())


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("conv.weight", (4, 6, 3, 3), (8, 6, 1, 3, 3)),
        ("conv.weight", (4, 6, 3, 3, 3), (4, 6, 2, 3, 3)),
        ("conv.weight", (4, 6, 1, 3, 3), (4, 8, 1, 3, 3)),
        ("conv.weight", (4, 6, 1, 3, 3), (4, 6, 1, 5, 5)),
        ("norm.weight", (4,), (8,)),
        ("pos_embed", (1, 197, 8), (1, 197, 16)),
        ("pos_embed", (1, 198, 8), (1, 50, 8)),
        ("pos_embed", (2, 196, 8), (2, 49, 8)),
    ],
)
def test_what_is_not_known_to_fit_is_not_made_to(name, old, new):
    assert adapt(name, torch.randn(old), new, patch=(16, 16)) is None


CLIP, TRAINED = Clip(8, 32), Clip(16, 64)
SMALLER = "positions 1x4x4 -> 1x2x2"
# name, patch, rows for the trained clip and for the clip, extra rows, how
TABLES = [
    ("blocks.0.attn.rel_pos_h", (3, 7, 7), 15, 7, 0, "15 -> 7 positions"),
    ("blocks.0.attn.rel_pos_t", (3, 7, 7), 15, 7, 0, "15 -> 7 positions"),
    ("timesformer.embeddings.time_embeddings", (16, 16), 16, 8, 0, "16 -> 8 positions"),
    ("pos_encoding.temporal_pos", (3, 7, 7), 8, 4, 0, "8 -> 4 positions"),
    ("pos_encoding.spatial_pos", (3, 7, 7), 256, 64, 0, "positions 1x16x16 -> 1x8x8"),
    ("timesformer.embeddings.position_embeddings.weight", (16, 16), 17, 5, 1, SMALLER),
    ("pos_embed", (16, 16), 17, 5, 1, SMALLER),
    ("pos_embed", (16, 16), 16, 4, 0, SMALLER),
    ("vivit.position_embeddings", (2, 16, 16), 129, 17, 1, "positions 8x4x4 -> 4x2x2"),
    ("position_embeddings", (2, 16, 16), 128, 16, 0, "positions 8x4x4 -> 4x2x2"),
]


def _resample(name, table, num_rows, patch):
    shape = (*table.shape[:-2], num_rows, table.shape[-1])
    return adapt(name, table, shape, patch=patch, clip=CLIP, trained_clip=TRAINED)


@pytest.mark.parametrize(("name", "patch", "old", "new", "num_extra", "how"), TABLES)
@pytest.mark.parametrize("front", [(), (1,)])
def test_constant_positions_stay_constant_and_the_class_tokens_stays(
    name, patch, old, new, num_extra, how, front
):
    table = torch.tensor([0.25, -3.0]).repeat(*front, old, 1)
    table[..., :num_extra, :] = 7.0
    adapted = _resample(name, table, new, patch)
    assert adapted.how == how
    expected = torch.tensor([0.25, -3.0]).repeat(*front, new, 1)
    expected[..., :num_extra, :] = 7.0
    torch.testing.assert_close(adapted.value, expected)


def test_positions_of_a_clip_are_resampled_along_each_axis_for_itself():
    # A table that is t in one channel, and linear in h and in w in two others, of 8 x 4 x 4 places.
    time, height, width = torch.meshgrid(
        torch.arange(8.0), torch.arange(4.0), torch.arange(4.0), indexing="ij"
    )
    table = torch.stack([time, height, width], dim=-1).reshape(1, 128, 3)
    adapted = _resample("position_embeddings", table, 16, (2, 16, 16))
    found = adapted.value.reshape(4, 2, 2, 3)
    # Halved, a place is the middle of two.
    torch.testing.assert_close(found[:, 0, 0, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))
    assert torch.equal(found[..., 0], found[:, :1, :1, 0].expand(4, 2, 2))
    assert torch.equal(found[..., 1], found[:1, :, :1, 1].expand(4, 2, 2))
    assert torch.equal(found[..., 2], found[:1, :1, :, 2].expand(4, 2, 2))
    torch.testing.assert_close(found[0, :, 0, 1], found[0, 0, :, 2])
    assert found[0, 0, 0, 1] < 1.0 < 2.0 < found[0, 1, 0, 1]


def test_time_is_taken_as_it_is_here_where_the_published_clip_does_not_fit():
    adapted = adapt(
        "position_embeddings",
        torch.ones(1, 4 * 9, 2),
        (1, 16, 2),
        patch=(2, 16, 16),
        clip=CLIP,
        trained_clip=TRAINED,
    )
    assert adapted.how == "positions 4x3x3 -> 4x2x2"


def test_space_is_taken_as_it_is_here_where_nothing_else_fits():
    adapted = adapt(
        "position_embeddings", torch.ones(1, 20, 2), (1, 16, 2), patch=(2, 16, 16), clip=CLIP
    )
    assert adapted.how == "positions 5x2x2 -> 4x2x2"


def test_relative_positions_keep_their_middle():
    table = torch.linspace(-1, 1, 15).unsqueeze(1)
    found = _resample("rel_pos_w", table, 7, ()).value.flatten()
    assert abs(found[3]) < 1e-6
    torch.testing.assert_close(found, -found.flip(0))


def test_positions_keep_their_dtype():
    table = torch.ones(1, 16, 2, dtype=torch.float16)
    assert adapt("pos_embed", table, (1, 4, 2), patch=(16, 16)).value.dtype == torch.float16
