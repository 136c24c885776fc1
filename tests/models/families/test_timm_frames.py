import subprocess
import sys

import pytest
import torch
from torch import nn

from videokd.models.families import timm_frames as family
from videokd.models.levels import LEVEL_NAMES, compute_level_shapes
from videokd.models.plain.timm_frames import shift_in_time
from videokd.models.tuned import Tuned
from videokd.models.zoo import architecture_names, get_architecture, get_size
from videokd.utils.errors import InputError

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


def _library(name, num_classes, crop_size=32):
    """Return timm's own network of a tiny or named architecture, with random weights."""
    model = get_size(name).options["model"]
    size = {"img_size": crop_size} if "vit" in model else {}
    return timm.create_model(model, num_classes=num_classes, **size).eval()


def _plain_with_weights_of(net, name, **clip):
    clip = {"num_frames": 3, "crop_size": 32, **clip}
    plain = get_architecture(name, **clip).build_plain(net.num_classes)
    plain.net.load_state_dict(net.state_dict(), strict=True)
    return plain.eval()


@pytest.mark.parametrize("name", NAMED)
def test_a_named_network_has_timms_parameters_under_their_names(name):
    with torch.device("meta"):
        expected = _library(name, 400, crop_size=224)
        plain = get_architecture(name, num_frames=8, crop_size=224).build_plain(400)
    shapes = {key: value.shape for key, value in plain.net.state_dict().items()}
    assert shapes == {key: value.shape for key, value in expected.state_dict().items()}
    assert sum(map(torch.numel, plain.parameters())) == sum(map(torch.numel, expected.parameters()))


@pytest.mark.parametrize("name", NAMED)
def test_what_is_written_down_of_a_named_network_is_what_timm_says(name):
    size = get_size(name)
    prefix = "timm-tsm" if size.options["is_shifted"] else "timm"
    asked = get_size(f"{prefix}:{size.options['model']}")
    assert size.model_input == asked.model_input
    assert (size.options, size.weights) == (asked.options, asked.weights)
    assert size.head_name == asked.head_name


@pytest.mark.parametrize("name", [n for n in NAMED if not n.endswith("_tsm")] + TINY[:4])
def test_a_clip_of_one_frame_has_timms_logits_bit_for_bit(name):
    expected = _library(name, 5)
    plain = _plain_with_weights_of(expected, name)
    frames = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(plain(frames[:, :, None]), expected(frames))


@pytest.mark.parametrize("name", TINY[:4])
def test_logits_are_the_classifiers_of_the_mean_embedding_and_near_the_mean_of_logits(name):
    net = _library(name, 5)
    nn.init.normal_(net.get_classifier().weight)
    plain = _plain_with_weights_of(net, name)
    clips = torch.randn(2, 3, 3, 32, 32)
    frames = torch.stack([clips[b, :, t] for b in range(2) for t in range(3)])
    with torch.no_grad():
        embeddings = net.forward_head(net.forward_features(frames), pre_logits=True)
        mean = embeddings.view(2, 3, -1).mean(dim=1)
        assert torch.equal(plain(clips), net.get_classifier()(mean))
        by_frame = net(frames).view(2, 3, 5).mean(dim=1)
        torch.testing.assert_close(plain(clips), by_frame, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_a_backbones_weights_go_back_into_timms_network_and_into_the_plain_one(
    make_architecture, name
):
    architecture = make_architecture(name)
    backbone = architecture.build_backbone().eval()
    head = nn.Linear(backbone.embedding_dim, 5)
    weights = {f"{architecture.head_name}.{key}": v for key, v in head.state_dict().items()}
    state = {**backbone.net.state_dict(), **weights}
    plain = architecture.build_plain(num_classes=5).eval()
    plain.load_state_dict(state, strict=True)
    bare = {key.removeprefix("net."): value for key, value in state.items()}
    _library(name, 5).load_state_dict(bare, strict=True)
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(plain(clips), head(backbone(clips).embedding))


# A ViT takes whole patches only.
@pytest.mark.parametrize(
    ("name", "num_frames", "crop_size"),
    [
        *((name, *clip) for name in TINY for clip in [(4, 64), (1, 48)]),
        *((name, 5, 33) for name in TINY if "vit" not in name),
    ],
)
def test_levels_are_timms_stages_with_every_frame(make_architecture, name, num_frames, crop_size):
    architecture = make_architecture(name, num_frames=num_frames, crop_size=crop_size)
    backbone = architecture.build_backbone().eval()
    clip_shape = (3, num_frames, crop_size, crop_size)
    shapes = compute_level_shapes(backbone, clip_shape)
    with torch.no_grad():
        features = backbone(torch.rand(2, *clip_shape))
    model = name.partition(":")[2]
    for level, (channels, stride) in zip(LEVEL_NAMES, LEVELS[model], strict=True):
        # Padded convolutions round up, those of patches leave the rest.
        side = crop_size // stride if "conv" in model else -(-crop_size // stride)
        assert shapes.levels[level] == (channels, num_frames, side, side)
        assert features.levels[level].shape == (2, channels, num_frames, side, side)
    assert shapes.embedding_dim == backbone.embedding_dim == features.embedding.shape[1]


def test_maps_of_each_frame_are_those_that_timm_gives_it(make_architecture):
    backbone = make_architecture("timm:test_vit").build_backbone().eval()
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        levels = backbone(clips).levels
        # Of its 6 blocks, those after a quarter, half, three quarters and all of them.
        for frame in range(4):
            maps = backbone.net.net.forward_intermediates(
                clips[:, :, frame], indices=[0, 2, 3, 5], intermediates_only=True
            )
            for level, expected in zip(LEVEL_NAMES, maps, strict=True):
                torch.testing.assert_close(levels[level][:, :, frame], expected)


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("timm:test_resnet", ["layer1", "layer2", "layer3", "layer4"]),
        ("timm:test_efficientnet", ["blocks.0 blocks.1", "blocks.2", "blocks.3", "blocks.4"]),
        ("timm:test_vit", ["blocks.0", "blocks.1 blocks.2", "blocks.3", "blocks.4 blocks.5"]),
        ("timm:mobilenetv3_small_050", ["blocks.0", "blocks.1", "blocks.2 blocks.3", "blocks.4 b"]),
    ],
)
def test_parts_hold_every_parameter_and_buffer_once_in_order(make_architecture, name, stages):
    backbone = make_architecture(name).build_backbone()
    parts = backbone.parts()
    assert list(parts) == ["stem", *LEVEL_NAMES, "embedding"]
    for level, expected in zip(LEVEL_NAMES, stages, strict=True):
        assert " ".join(parts[level]).replace("net.", "").startswith(expected)
    held = []
    for part, names in parts.items():
        for key, member in zip(names, backbone.part_members(part), strict=True):
            is_module = isinstance(member, nn.Module)
            held += [f"{key}.{k}" for k in member.state_dict()] if is_module else [key]
    assert held == list(backbone.net.state_dict())


@pytest.mark.parametrize("name", TINY)
def test_every_parameter_gets_a_gradient_and_a_level_hangs_on_the_parts_below(
    make_architecture, name
):
    backbone = make_architecture(name, crop_size=64).build_backbone().eval()
    for parameter in backbone.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))  # some start at exactly zero
    features = backbone(torch.randn(2, 3, 4, 64, 64))
    maps = [*features.levels.values(), features.embedding]
    for i, value in enumerate(maps, start=1):
        backbone.zero_grad()
        value.pow(2).sum().backward(retain_graph=True)
        for j, part in enumerate(backbone.parts()):
            for member in backbone.part_members(part):
                is_module = isinstance(member, nn.Module)
                parameters = list(member.parameters()) if is_module else [member]
                reached = [p.grad is not None and bool(p.grad.any()) for p in parameters]
                assert any(reached) if j <= i else not any(reached), (part, i)
                assert all(reached) or i < len(maps), part


def test_tuning_reaches_parameters_that_belong_to_no_module(make_classifier):
    model = make_classifier("timm:test_vit")
    Tuned(model, "all")
    assert all(p.requires_grad for p in model.backbone.parameters())
    Tuned(model, "last_stage")
    trained = [k for k, p in model.backbone.net.net.named_parameters() if p.requires_grad]
    assert {key.split(".")[0] for key in trained} == {"blocks", "norm"}
    assert {key.split(".")[1] for key in trained if key.startswith("blocks")} == {"4", "5"}


def test_the_shifted_network_is_timms_with_the_shift_before_the_first_convolutions(
    make_architecture,
):
    plain = make_architecture("timm-tsm:test_resnet").build_plain(5).eval()
    for parameter in plain.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))  # branches start at exactly zero
    net = _library("timm:test_resnet", 5)
    net.load_state_dict(plain.net.state_dict(), strict=True)
    for i in range(1, 5):
        for block in net.get_submodule(f"layer{i}"):
            block.conv1.register_forward_pre_hook(lambda _, args: shift_in_time(args[0], 4))
    clips = torch.randn(2, 3, 4, 32, 32)
    frames = clips.transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        expected = net(frames).view(2, 4, 5).mean(dim=1)
        torch.testing.assert_close(plain(clips), expected, rtol=1e-5, atol=1e-5)
        unshifted = _plain_with_weights_of(net, "timm:test_resnet")
        assert not torch.allclose(plain(clips), unshifted(clips), rtol=1e-2)


@pytest.mark.parametrize("name", ["timm-tsm:test_resnet", "timm:test_vit"])
def test_one_graph_is_compiled_of_a_whole_network(make_architecture, name):
    backbone = make_architecture(name).build_backbone().eval()
    clips = torch.randn(2, 3, 4, 32, 32)
    torch.compiler.reset()
    compiled = torch.compile(backbone, fullgraph=True, backend="eager")
    with torch.no_grad():
        result, expected = compiled(clips), backbone(clips)
    assert torch.equal(result.embedding, expected.embedding)
    for level in LEVEL_NAMES:
        assert torch.equal(result.levels[level], expected.levels[level])


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm-tsm:test_resnet", "timm:test_vit"])
def test_bf16_and_channels_last_are_close_to_float32(make_classifier, name):
    model = make_classifier(name).eval()
    last = make_classifier(name, memory_format="channels_last_3d").eval()
    last.load_state_dict(model.state_dict())
    clips = {"clip": torch.rand(2, 3, 4, 32, 32)}
    with torch.no_grad():
        expected, in_last = model(clips), last(clips)
        model.precision = "bf16"
        in_bf16 = model(clips)
    for level in LEVEL_NAMES:
        value = expected.levels[level]
        assert (in_last.levels[level] - value).norm() < 1e-5 * value.norm()
        assert (in_bf16.levels[level].float() - value).norm() < 0.05 * value.norm()
    if name == "timm:test_resnet":
        weight = last.backbone.net.net.layer1[0].conv2.weight
        assert weight.is_contiguous(memory_format=torch.channels_last)


def test_names_are_not_listed_beyond_the_table_but_found():
    assert set(NAMED) <= set(architecture_names())
    assert "timm:test_resnet" not in architecture_names()
    size = get_size("timm:vit_base_patch16_clip_224.openai")
    assert size.model_input.mean == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)
    assert size.weights == ("timm:vit_base_patch16_clip_224.openai",)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm:resnet51", {}, "'timm:resnet51': timm has no network 'resnet51'; near are resnet"),
        ("timm:resnet50.nobody", {}, "'timm:resnet50.nobody': Invalid pretrained tag"),
        ("timm:hf-hub:some/one", {}, "timm has no network 'hf-hub:some/one'"),
        ("tim:resnet50", {}, "ARCH 'tim:resnet50'; .* prints all, beside timm:NAME, timm-tsm:NAME"),
        ("timm:resnet50", {"width_factor": 0.5}, "must be 1, got 0.5 and 1; choose another"),
        ("timm_vit_small_mean", {"depth_factor": 2.0}, "must be 1, got 1 and 2; choose another"),
    ],
)
def test_wrong_names_and_sizes_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        get_architecture(name, num_frames=8, crop_size=64, **options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm-tsm:test_vit", "test_vit has no residual branches that a temporal shift is known"),
        ("timm:deit_tiny_distilled_patch16_224", "deit_tiny_.* cannot be a backbone: it needs one"),
        ("timm:resnetv2_50", "resnetv2_50 cannot be a backbone: it needs one linear classifier"),
        ("timm:caformer_s18", "caformer_s18 cannot be a backbone: it needs one linear classifier"),
        ("timm:hrnet_w18_small", "its stages are not modules of its own, stage1, stage2, stage3"),
        ("timm:pit_ti_224", "pit_ti_224 cannot be a backbone: it has 3 stages, four are needed"),
    ],
)
def test_networks_that_do_not_fit_are_refused(name, message):
    with torch.device("meta"), pytest.raises(InputError, match=message):
        get_architecture(name, num_frames=8, crop_size=224).build_backbone()


def test_a_vit_refuses_a_crop_that_its_patches_do_not_divide(make_architecture):
    backbone = make_architecture("timm:test_vit", crop_size=40).build_backbone()
    with pytest.raises(InputError, match=r"\(3, 4, 40, 40\): .* should be divisible by patch size"):
        compute_level_shapes(backbone, (3, 4, 40, 40))


def test_a_shift_refuses_clips_of_another_length(make_architecture):
    backbone = make_architecture("timm-tsm:test_resnet").build_backbone()
    with pytest.raises(ValueError, match="built for clips of 4 frames, got 2"):
        backbone(torch.rand(2, 3, 2, 32, 32))


def test_without_timm_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"need timm, .*; run pip install -e .\.\[timm\]."):
        get_architecture("timm:resnet50", num_frames=8, crop_size=64)
    named = get_architecture("timm_resnet50_mean", num_frames=8, crop_size=64)
    assert named.head_name == "net.fc"
    with pytest.raises(InputError, match="need timm"):
        named.build_backbone()


def test_naming_an_architecture_does_not_import_timm():
    code = (
        "import sys; from videokd.models import zoo; zoo.architecture_names(); "
        "zoo.get_architecture('timm_vit_small_mean', num_frames=8, crop_size=224).head_name; "
        "sys.exit('timm' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
