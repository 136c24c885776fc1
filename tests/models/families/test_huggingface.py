"""What the families of Hugging Face's library have in common, compared with the library."""

import ast
import inspect
import sys

import pytest
import torch
from torch import nn

from videokd.models.levels import LEVEL_NAMES, compute_level_shapes
from videokd.models.zoo import FAMILIES, architecture_names, get_architecture, get_size
from videokd.utils.errors import InputError

transformers = pytest.importorskip("transformers")

FAMILY_NAMES = ["timesformer", "videomae", "vivit", "vjepa2"]
TINY = ["timesformer_b", "videomae_b", "vivit_b", "vjepa2_l"]
LIBRARY = {
    "timesformer": (transformers.TimesformerForVideoClassification, transformers.TimesformerConfig),
    "videomae": (transformers.VideoMAEForVideoClassification, transformers.VideoMAEConfig),
    "vivit": (transformers.VivitForVideoClassification, transformers.VivitConfig),
    "vjepa2": (transformers.VJEPA2ForVideoClassification, transformers.VJEPA2Config),
}


def _vit(width, num_heads, num_blocks):
    return {
        "hidden_size": width,
        "num_attention_heads": num_heads,
        "num_hidden_layers": num_blocks,
        "intermediate_size": 4 * width,
    }


def _jepa(width, num_heads, num_blocks, mlp_ratio):
    encoder = {"hidden_size": width, "num_attention_heads": num_heads}
    return {**encoder, "num_hidden_layers": num_blocks, "mlp_ratio": mlp_ratio}


# As in the config.json of the published weights; 400 or 174 classes change the head alone.
PUBLISHED = {
    "timesformer_b": ("timesformer", {"num_frames": 8}),
    "videomae_s": ("videomae", _vit(384, 6, 12)),
    "videomae_b": ("videomae", {}),
    "videomae_l": ("videomae", _vit(1024, 16, 24)),
    "vivit_b": ("vivit", {"num_frames": 32}),
    "vjepa2_l": ("vjepa2", _jepa(1024, 16, 24, 4.0)),
    "vjepa2_g_384": ("vjepa2", {**_jepa(1408, 22, 40, 4.363636363636363), "crop_size": 384}),
}


def _library_network(name, *, num_classes=5, **options):
    family, config = PUBLISHED[name]
    network, config_class = LIBRARY[family]
    return network(config_class(num_labels=num_classes, **{**config, **options}))


def _tiny_library_network(name, *, num_frames=4, crop_size=32):
    family = PUBLISHED[name][0]
    if family == "vjepa2":
        predictor = {"pred_hidden_size": 32, "pred_num_attention_heads": 1}
        options = {**_jepa(64, 1, 4, 4.0), **predictor, "pred_num_hidden_layers": 4}
        return _library_network(name, **options, crop_size=crop_size)
    return _library_network(name, **_vit(64, 1, 4), num_frames=num_frames, image_size=crop_size)


def _shake(net):
    """Give weight to what starts at exactly zero or one."""
    for parameter in net.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))


def _library_logits(net, clips):
    with torch.no_grad():
        return net(clips.transpose(1, 2)).logits


def test_every_architecture_of_the_library_is_compared_with_it_here():
    ours = [name for family in FAMILY_NAMES for name in FAMILIES[family].sizes]
    assert sorted(ours) == sorted(PUBLISHED)
    assert set(ours) <= set(architecture_names())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_full_size_network_has_the_librarys_parameters_under_their_names(name):
    clip = get_size(name).model_input
    num_frames, crop_size = clip.num_frames, clip.crop_size
    options = {}
    if name.startswith("videomae"):
        # Its table of sines is no parameter, and takes seconds at full size.
        num_frames, crop_size = 2, 16
        options = {"num_frames": 2, "image_size": 16}
    with torch.device("meta"):
        expected = _library_network(name, **options)
        architecture = get_architecture(name, num_frames=num_frames, crop_size=crop_size)
        plain = architecture.build_plain(num_classes=5)
    assert {k: v.shape for k, v in plain.state_dict().items()} == {
        k: v.shape for k, v in expected.state_dict().items()
    }
    assert sum(map(torch.numel, plain.parameters())) == sum(map(torch.numel, expected.parameters()))


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("num_frames", "crop_size"), [(4, 32), (6, 48), (2, 16)])
def test_logits_are_the_librarys_bit_for_bit(make_architecture, name, num_frames, crop_size):
    expected = _tiny_library_network(name, num_frames=num_frames, crop_size=crop_size).eval()
    _shake(expected)
    architecture = make_architecture(name, num_frames=num_frames, crop_size=crop_size)
    plain = architecture.build_plain(num_classes=5).eval()
    plain.load_state_dict(expected.state_dict(), strict=True)
    clips = torch.randn(2, 3, num_frames, crop_size, crop_size)
    with torch.no_grad():
        logits = plain(clips)
    assert torch.equal(logits, _library_logits(expected, clips))


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "num_frames", "crop_size"),
    [
        ("timesformer_b", 8, 224),
        ("videomae_s", 16, 224),
        ("videomae_b", 4, 32),
        ("videomae_l", 4, 32),
        ("vivit_b", 4, 32),
        ("vjepa2_l", 4, 32),
    ],
)
def test_a_full_width_network_gives_the_librarys_logits_bit_for_bit(name, num_frames, crop_size):
    from transformers.initialization import no_init_weights

    is_jepa = name == "vjepa2_l"
    size = {"crop_size": crop_size} if is_jepa else {"image_size": crop_size}
    options = size if is_jepa else {**size, "num_frames": num_frames}
    expected = _library_network(name, **options).eval()
    architecture = get_architecture(name, num_frames=num_frames, crop_size=crop_size)
    with no_init_weights():  # every weight is loaded next; drawing them takes most of the time
        plain = architecture.build_plain(num_classes=5).eval()
    plain.load_state_dict(expected.state_dict(), strict=True)
    clips = torch.randn(1, 3, num_frames, crop_size, crop_size)
    with torch.no_grad():
        logits = plain(clips)
    assert torch.equal(logits, _library_logits(expected, clips))


@pytest.mark.parametrize("name", TINY)
def test_a_backbones_weights_go_back_into_the_librarys_own_class(make_architecture, name):
    architecture = make_architecture(name)
    backbone = architecture.build_backbone().eval()
    _shake(backbone)
    expected = _tiny_library_network(name).eval()
    head = expected.get_submodule(architecture.head_name)
    weights = {f"{architecture.head_name}.{key}": v for key, v in head.state_dict().items()}
    expected.load_state_dict({**backbone.net.state_dict(), **weights}, strict=True)
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        logits = head(backbone(clips).embedding)
    assert torch.equal(logits, _library_logits(expected, clips))


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("num_frames", "crop_size"), [(4, 32), (6, 48), (2, 16)])
def test_levels_have_one_cell_per_patch(make_architecture, name, num_frames, crop_size):
    architecture = make_architecture(name, num_frames=num_frames, crop_size=crop_size)
    backbone = architecture.build_backbone().eval()
    clip = (3, num_frames, crop_size, crop_size)
    with torch.no_grad():
        features = backbone(torch.randn(2, *clip))
    time = num_frames if name == "timesformer_b" else num_frames // 2
    expected = (64, time, crop_size // 16, crop_size // 16)
    assert list(features.levels) == list(LEVEL_NAMES)
    assert all(level.shape == (2, *expected) for level in features.levels.values())
    assert features.embedding.shape == (2, backbone.embedding_dim) == (2, 64)
    shapes = compute_level_shapes(backbone, clip)
    assert shapes.levels == dict.fromkeys(LEVEL_NAMES, expected)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("place", [(0, 0, 0), (2, 1, 3), (1, 3, 0)])
def test_a_patch_changes_its_own_cell_most(make_architecture, name, place):
    stride = (1 if name == "timesformer_b" else 2, 16, 16)
    num_frames, crop_size = 3 * stride[0], 4 * 16
    architecture = make_architecture(name, num_frames=num_frames, crop_size=crop_size)
    backbone = architecture.build_backbone().eval()
    clips = torch.zeros(2, 3, num_frames, crop_size, crop_size)
    t, h, w = (slice(i * step, (i + 1) * step) for i, step in zip(place, stride, strict=True))
    clips[1, :, t, h, w] = 3 * torch.randn(3, *stride)
    with torch.no_grad():
        levels = backbone(clips).levels
    for level in levels.values():
        change = (level[1] - level[0]).norm(dim=0)
        assert torch.unravel_index(change.argmax(), change.shape) == place


@pytest.mark.parametrize("name", TINY)
def test_levels_are_the_librarys_hidden_states_at_four_even_depths(make_architecture, name):
    architecture = make_architecture(name)
    backbone = architecture.build_backbone().eval()
    expected = _tiny_library_network(name).eval()
    expected.set_submodule(architecture.head_name, nn.Identity())
    expected.load_state_dict(backbone.net.state_dict(), strict=True)
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        levels = backbone(clips).levels
        states = expected(clips.transpose(1, 2), output_hidden_states=True).hidden_states
    for i, level in enumerate(LEVEL_NAMES, start=1):  # of 4 blocks, one per level
        tokens = states[i][:, -levels[level][0, 0].numel() :]
        if name == "vjepa2_l" and i == 4:
            continue  # there the library's last state is normalised
        # The same tokens, in whatever order: which one lies where is tested above.
        ours = levels[level].flatten(2).transpose(1, 2)
        assert torch.equal(ours.sort(dim=1).values, tokens.sort(dim=1).values)


@pytest.mark.parametrize(
    ("name", "lasts"),
    [("videomae_s", (2, 5, 8, 11)), ("vivit_b", (2, 5, 8, 11)), ("vjepa2_l", (5, 11, 17, 23))],
)
def test_the_blocks_of_each_level_are_the_documented_ones(name, lasts):
    num_frames, crop_size = 2, 16
    with torch.device("meta"):
        architecture = get_architecture(name, num_frames=num_frames, crop_size=crop_size)
        parts = architecture.build_backbone().parts()
    assert tuple(int(parts[level][-1].split(".")[-1]) for level in LEVEL_NAMES) == lasts


@pytest.mark.parametrize("name", TINY)
def test_parts_hold_every_parameter_and_buffer_once_in_the_order_of_the_forward(
    make_architecture, name
):
    backbone = make_architecture(name).build_backbone()
    parts = backbone.parts()
    assert list(parts) == ["stem", *LEVEL_NAMES, "embedding"]
    modules = [backbone.net.get_submodule(m) for names in parts.values() for m in names]
    held = [id(x) for m in modules for x in [*m.parameters(), *m.buffers()]]
    assert sorted(held) == sorted(id(x) for x in [*backbone.parameters(), *backbone.buffers()])
    keys = [f"net.{m}.{k}" for ms in parts.values() for m in ms for k in _keys(backbone, m)]
    assert keys == list(backbone.state_dict())


def _keys(backbone, module):
    return backbone.net.get_submodule(module).state_dict()


@pytest.mark.parametrize("name", TINY)
def test_narrow_networks_start_with_weights_that_grow_as_the_width_shrinks(name):
    options = {"num_frames": 2, "crop_size": 16}
    own = get_architecture(name, **options).arguments
    half = get_architecture(name, **options, width_factor=0.5, depth_factor=0.5).arguments
    assert (own["init_std"], half["init_std"]) == (0.02, pytest.approx(0.02 * 2**0.5))
    assert half["width"] == own["width"] // 2
    assert half["num_heads"] == own["num_heads"] // 2
    assert half["num_blocks"] in (8, 12)  # of 12 and of 24, rounded up per level
    net = get_architecture(name, **options, width_factor=1 / 4, depth_factor=0.1).build_plain(3)
    weights = next(p for k, p in net.named_parameters() if k.endswith("fc1.weight") or "dense" in k)
    assert weights.std().item() == pytest.approx(0.04, rel=0.1)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("clip", [{"num_frames": 5}, {"crop_size": 40}])
def test_a_clip_that_patches_do_not_divide_is_refused(name, clip):
    if name == "timesformer_b" and "num_frames" in clip:
        assert get_architecture(name, num_frames=5, crop_size=32).arguments["num_frames"] == 5
        return
    frames = "any number of" if name == "timesformer_b" else "a multiple of 2"
    message = f"{name} needs {frames} frames and a crop that is a multiple of 16 px, got NUM_FRAMES"
    with pytest.raises(InputError, match=message):
        get_architecture(name, **{"num_frames": 4, "crop_size": 32, **clip})


@pytest.mark.parametrize("name", TINY)
def test_clips_of_another_size_than_the_network_was_built_for_are_refused(make_architecture, name):
    architecture = make_architecture(name, num_frames=4, crop_size=32)
    backbone, plain = architecture.build_backbone(), architecture.build_plain(3)
    message = r"built for clips of \((T, )?H, W\)|doesn't match model"
    for net in (backbone, plain):
        with pytest.raises(ValueError, match=message):
            net(torch.randn(1, 3, 4, 48, 48))
    with pytest.raises(InputError, match=r"does not accept clips of shape .* = \(3, 4, 48, 48\)"):
        compute_level_shapes(backbone, (3, 4, 48, 48))
    if name == "timesformer_b":  # half the frames would be taken for half the height
        with pytest.raises(ValueError, match=message):
            backbone(torch.randn(1, 3, 2, 32, 32))


def test_vjepa2_takes_any_even_number_of_frames(make_architecture):
    backbone = make_architecture("vjepa2_l", num_frames=4, crop_size=32).build_backbone().eval()
    with torch.no_grad():
        assert backbone(torch.randn(1, 3, 10, 32, 32)).levels["stage4"].shape == (1, 64, 5, 2, 2)


def test_videomaes_position_table_moves_with_the_network_and_is_no_weight(make_architecture):
    net = make_architecture("videomae_b").build_plain(3)
    table = net.videomae.embeddings.position_embeddings
    expected = _tiny_library_network("videomae_b").videomae.embeddings.position_embeddings
    assert torch.equal(table, expected)
    assert not any("position" in key for key in net.state_dict())
    assert net.to("meta").videomae.embeddings.position_embeddings.is_meta


@pytest.mark.parametrize("name", TINY)
def test_a_network_that_the_library_saved_is_read_by_its_own_reader(
    make_architecture, tmp_path, name
):
    plain = make_architecture(name).build_plain(5).eval()
    expected = _tiny_library_network(name).eval()
    expected.save_pretrained(tmp_path)
    loaded = type(plain).from_pretrained(tmp_path).eval()
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(clips), _library_logits(expected, clips))


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_plain_file_needs_torch_and_the_library_alone(family):
    module = sys.modules[FAMILIES[family].build_plain(**_arguments(family)).__module__]
    tree = ast.parse(inspect.getsource(module))
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imported - {"collections.abc"} == {"torch", "transformers"}
    assert not any(isinstance(node, ast.Import) for node in ast.walk(tree))


def _arguments(family):
    name = next(iter(FAMILIES[family].sizes))
    options = {"num_frames": 2, "crop_size": 16, "width_factor": 0.1, "depth_factor": 0.1}
    return {"num_classes": 2, **get_architecture(name, **options).arguments}
