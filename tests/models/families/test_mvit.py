import pytest
import torch
from torchvision.models import video as library
from torchvision.models.video import mvit as library_file

from videokd.models.levels import compute_level_shapes
from videokd.models.zoo import get_architecture
from videokd.utils.errors import InputError


@pytest.fixture
def library_mvit(monkeypatch):
    """``library_mvit(name, num_frames, crop_size)``: the library's settings at another size."""

    def build(name, num_frames, crop_size):
        settings = {}
        network = library_file.MViT
        with monkeypatch.context() as patch:
            patch.setattr(library_file, "MViT", lambda **options: settings.update(options))
            getattr(library, name)(weights=None)
        size = {"spatial_size": (crop_size, crop_size), "temporal_size": num_frames}
        return network(**{**settings, **size})

    return build


@pytest.mark.parametrize("name", ["mvit_v1_b", "mvit_v2_s"])
def test_full_width_logits_are_the_librarys_bit_for_bit(library_mvit, name):
    num_frames, crop_size = 6, 44
    expected = library_mvit(name, num_frames, crop_size).eval()
    architecture = get_architecture(name, num_frames=num_frames, crop_size=crop_size)
    plain = architecture.build_plain(num_classes=400).eval()
    plain.load_state_dict(expected.state_dict(), strict=True)
    clips = torch.randn(2, 3, num_frames, crop_size, crop_size)
    with torch.no_grad():
        logits = expected(clips)
        assert torch.equal(plain(clips), logits)
        head = plain.head[1]
        assert torch.equal(head(architecture.wrap(plain)(clips).embedding), logits)


@pytest.mark.nightly
def test_full_size_logits_of_version_1_are_the_librarys_bit_for_bit():
    expected = library.mvit_v1_b(weights=None).eval()
    architecture = get_architecture("mvit_v1_b", num_frames=16, crop_size=224)
    plain = architecture.build_plain(num_classes=400).eval()
    plain.load_state_dict(expected.state_dict(), strict=True)
    clips = torch.randn(1, 3, 16, 224, 224)
    with torch.no_grad():
        assert torch.equal(plain(clips), expected(clips))


@pytest.mark.parametrize(
    ("clip", "levels"),
    [
        ((16, 224), [(8, 56, 56), (8, 28, 28), (8, 14, 14), (8, 7, 7)]),
        ((6, 36), [(3, 9, 9), (3, 5, 5), (3, 3, 3), (3, 2, 2)]),
    ],
)
@pytest.mark.parametrize(
    ("name", "channels"),
    [("mvit_v1_b", (192, 384, 768, 768)), ("mvit_v2_s", (96, 192, 384, 768))],
)
def test_levels_have_the_shapes_worked_out_by_hand(name, channels, clip, levels):
    num_frames, crop_size = clip
    with torch.device("meta"):
        architecture = get_architecture(name, num_frames=num_frames, crop_size=crop_size)
        backbone = architecture.build_backbone()
    shapes = compute_level_shapes(backbone, (3, num_frames, crop_size, crop_size))
    assert [shape[1:] for shape in shapes.levels.values()] == levels
    assert tuple(shape[0] for shape in shapes.levels.values()) == channels
    assert shapes.embedding_dim == 768


@pytest.mark.parametrize("clip", [{"num_frames": 5}, {"crop_size": 50}])
def test_version_1_refuses_clips_that_its_patches_do_not_divide(clip):
    with pytest.raises(InputError, match="mvit_v1_b needs an even number of frames and a crop"):
        get_architecture("mvit_v1_b", **{"num_frames": 8, "crop_size": 64, **clip})


def test_an_export_of_before_version_1_still_builds_version_2(make_architecture):
    architecture = make_architecture("mvit_v2_s")
    arguments = {key: value for key, value in architecture.arguments.items() if key != "version"}
    older = type(architecture)("mvit_v2_s", "mvit", arguments).build_plain(3)
    assert list(older.state_dict()) == list(architecture.build_plain(3).state_dict())
