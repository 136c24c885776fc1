"""Properties of every architecture, checked on small networks.

Sizes of a family that differ in numbers alone are checked once, and numerics once per family. That
logits equal the library's bit for bit is checked family by family, in ``families/``.
"""

import copy
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from videokd.models.classifier import VideoClassifier
from videokd.models.levels import LEVEL_NAMES, Backbone, compute_level_shapes
from videokd.models.zoo import FAMILIES, Architecture, architecture_names
from videokd.utils.errors import InputError

# Importing pytorchvideo imports fvcore.nn, which scripts a function.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

# (frames, px): a network gets the first that it takes.
CLIPS = ((4, 32), (8, 64), (16, 64))
# (T, H, W): odd, of no network's liking, and not square.
ODD_CLIPS = ((5, 35, 35), (6, 36, 36), (6, 48, 36), (1, 32, 32))
NAMED_TIMM = FAMILIES["timm_frames"].sizes
SMALL = {"timm_frames": "timm:test_resnet"}
ONE_OF_EACH_FAMILY = [SMALL.get(f.name, next(iter(f.sizes))) for f in FAMILIES.values()]
# Architectures whose small network differs in numbers alone from one that is checked.
SAME_BUT_FOR_NUMBERS = {
    *(
        "swin3d_s",
        "swin3d_b",
        "x3d_xs",
        "x3d_m",
        "x3d_l",
        "mvit_b_32x3",
        "videomae_s",
        "videomae_l",
    ),
    *("slowfast_r101_slow", "slowfast_r101_fast", "vjepa2_g_384"),
}
# timm's named networks are of full size; these are small ones of the same kinds.
SMALL_TIMM = [
    "timm:test_convnext",
    "timm:test_vit",
    "timm:test_efficientnet",
    "timm-tsm:test_resnet",
]
DISTINCT = [
    *(n for n in architecture_names() if n not in {*SAME_BUT_FOR_NUMBERS, *NAMED_TIMM}),
    *SMALL_TIMM,
]
# Family -> parameters that its library builds and does not use to classify.
UNUSED = {"vjepa2": ("net.vjepa2.predictor.",)}


@dataclass(frozen=True)
class Network:
    """A small network, twice: as its library has it, and as a backbone, with the same weights."""

    architecture: Architecture
    plain: nn.Module
    backbone: Backbone
    clips: Tensor
    """(2, 3, T, H, W), of both."""

    @property
    def clip_shape(self):
        return tuple(self.clips.shape[1:])


# Of this scope, one network at a time is kept for all its tests.
@pytest.fixture(scope="module", params=DISTINCT)
def network(request, make_architecture) -> Network:
    """Network of each distinct architecture in turn; not to be changed."""
    architecture, (num_frames, side) = _find_clip(make_architecture, request.param)
    return _make_network(architecture, num_frames, side)


@pytest.fixture(scope="module", params=ONE_OF_EACH_FAMILY)
def family_network(request, make_architecture) -> Network:
    """The same of one architecture of each family."""
    architecture, (num_frames, side) = _find_clip(make_architecture, request.param)
    return _make_network(architecture, num_frames, side)


def _make_network(architecture, num_frames, side):
    with torch.random.fork_rng(devices=[]):
        plain, backbone = _build(architecture)
        clips = torch.randn(2, 3, num_frames, side, side)
    return Network(architecture, plain, backbone, clips)


def _build(architecture) -> tuple[nn.Module, Backbone]:
    """Build both; skip where the library is missing."""
    torch.manual_seed(0)
    try:
        plain = architecture.build_plain(5).eval()
    except InputError as error:
        pytest.skip(str(error))
    for parameter in plain.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))  # some start at exactly zero
    return plain, architecture.wrap(copy.deepcopy(plain)).eval()


def _find_clip(make_architecture, name):
    for clip in CLIPS:
        architecture, refusal = _try(make_architecture, name, num_frames=clip[0], crop_size=clip[1])
        if architecture is not None:
            return architecture, clip
    pytest.fail(refusal)


def _try(function, *args, **options):
    """Return its result and "", or None and the one error that it may raise."""
    try:
        return function(*args, **options), ""
    except InputError as error:
        return None, str(error)


def _relative_error(value, expected):
    return ((value.float() - expected).norm() / expected.norm()).item()


def _classify(plain, architecture, embedding):
    head = plain.get_submodule(architecture.head_name)
    # One that is a 1x1x1 convolution is linear too.
    return F.linear(embedding, head.weight.flatten(1), head.bias)


def test_the_embedding_is_what_the_plain_networks_classifier_sees(network):
    with torch.no_grad():
        logits = network.plain(network.clips)
        embedding = network.backbone(network.clips).embedding
    assert logits.shape == (2, 5)
    found = _classify(network.plain, network.architecture, embedding)
    # A mean of logits is the logits of a mean, but for rounding.
    assert _relative_error(found, logits) < 1e-5


def test_levels_are_there_in_order_finite_and_of_the_shapes_foretold(network):
    shapes = compute_level_shapes(network.backbone, network.clip_shape)
    with torch.no_grad():
        features = network.backbone(network.clips)
    _check_shapes(features, shapes)
    maps = list(features.levels.values())
    assert all(value.isfinite().all() for value in (*maps, features.embedding))
    # Some differ between clips and places: no level is a constant.
    assert all((value[0] - value[1]).abs().max() > 0 for value in (*maps, features.embedding))


def _check_shapes(features, shapes):
    assert list(shapes.levels) == list(features.levels) == list(LEVEL_NAMES)
    for level, value in features.levels.items():
        assert tuple(value.shape[1:]) == shapes.levels[level], level
    assert features.embedding.shape[1] == shapes.embedding_dim


@pytest.mark.parametrize("clip", ODD_CLIPS, ids=str)
def test_odd_clips_have_the_shapes_foretold_or_are_refused(network, make_architecture, clip):
    num_frames, height, width = clip
    name = network.architecture.name
    architecture, refusal = _try(make_architecture, name, num_frames=num_frames, crop_size=height)
    if refusal:
        assert name in refusal
        assert str(num_frames) in refusal or str(height) in refusal
        return
    backbone = network.backbone
    if architecture != network.architecture:
        _, backbone = _build(architecture)
    shapes, refusal = _try(compute_level_shapes, backbone, (3, *clip))
    if refusal:
        assert f"(C, T, H, W) = (3, {num_frames}, {height}, {width})" in refusal
        return
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, *clip))
    _check_shapes(features, shapes)
    assert features.embedding.isfinite().all()


def test_gradients_reach_every_parameter(network):
    backbone = copy.deepcopy(network.backbone)
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            module.bias.data += 1.0  # no ReLU is dead, even where there is one channel
    features = backbone(network.clips)
    # Levels too: the last block of a transformer can have parts that no class token sees.
    values = (*features.levels.values(), features.embedding)
    sum((value * torch.randn_like(value)).mean() for value in values).backward()
    silent = [
        key
        for key, parameter in backbone.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    unused = UNUSED.get(network.architecture.family, ())
    assert [key for key in silent if not key.startswith(unused)] == []


def test_parts_hold_every_parameter_and_buffer_once(network):
    net, parts = network.backbone.net, network.backbone.parts()
    assert list(parts) == ["stem", *LEVEL_NAMES, "embedding"]
    members = [name for names in parts.values() for name in names]
    for key, _ in (*net.named_parameters(), *net.named_buffers()):
        holders = [name for name in members if f"{key}.".startswith(f"{name}.")]
        assert len(holders) == 1, key


def test_evaluation_changes_nothing_and_clips_do_not_see_each_other(family_network):
    before = {key: value.clone() for key, value in family_network.backbone.state_dict().items()}
    with torch.no_grad():
        both = family_network.backbone(family_network.clips).embedding
        again = family_network.backbone(family_network.clips).embedding
        alone = family_network.backbone(family_network.clips[1:]).embedding
    assert torch.equal(both, again)
    assert _relative_error(alone, both[1:]) < 1e-4
    assert all(torch.equal(before[k], v) for k, v in family_network.backbone.state_dict().items())


def test_a_training_step_is_finite_and_evaluation_works_after_it(family_network):
    backbone = copy.deepcopy(family_network.backbone).train()
    # One step of stochastic depth and batch statistics, levels included.
    features = backbone(family_network.clips)
    loss = features.embedding.mean() + sum(x.mean() for x in features.levels.values())
    loss.backward()
    gradients = [p.grad for p in backbone.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    with torch.no_grad():
        assert backbone.eval()(family_network.clips).embedding.isfinite().all()


def test_channels_last_is_contiguous_but_for_rounding(family_network):
    expected, features = _run_in(family_network, memory_format="channels_last_3d")
    for level, value in expected.levels.items():
        assert _relative_error(features.levels[level], value) < 1e-4, level
    assert _relative_error(features.embedding, expected.embedding) < 1e-4


def test_bf16_is_close_to_float32(family_network):
    expected, features = _run_in(family_network, precision="bf16")
    # bf16 keeps 8 bits: 0.004 at each of some dozen roundings in a row.
    for level, value in expected.levels.items():
        assert _relative_error(features.levels[level], value) < 0.05, level
    assert _relative_error(features.embedding, expected.embedding) < 0.05


def _run_in(network, **options):
    """Return the features of the network as it is, and with options of VideoClassifier."""
    model = VideoClassifier(copy.deepcopy(network.backbone), {"a": 3}, **options).eval()
    with torch.no_grad():
        return network.backbone(network.clips), model({"clip": network.clips})


def _compile(network, mode, backend):
    """Return the features of the network and of a compiled copy, in the same mode."""
    backbones = [copy.deepcopy(network.backbone).train(mode == "train") for _ in range(2)]
    backbones[1].compile(fullgraph=True, backend=backend)
    torch.compiler.reset()
    features = []
    for backbone in backbones:
        torch.manual_seed(1)  # of stochastic depth
        features.append(backbone(network.clips))
    assert list(backbones[1].state_dict()) == list(network.backbone.state_dict())
    return features


@pytest.mark.compiled
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_network_is_one_graph_whose_features_are_its_own(family_network, mode):
    expected, features = _compile(family_network, mode, "eager")
    assert list(features.levels) == list(LEVEL_NAMES)
    for level, value in expected.levels.items():
        assert torch.equal(features.levels[level], value), level
    assert torch.equal(features.embedding, expected.embedding)


@pytest.mark.compiled
def test_a_compiled_network_is_the_network_but_for_rounding(family_network):
    expected, features = _compile(family_network, "eval", "inductor")
    for level, value in expected.levels.items():
        assert _relative_error(features.levels[level].detach(), value.detach()) < 1e-4, level
    assert _relative_error(features.embedding.detach(), expected.embedding.detach()) < 1e-4
