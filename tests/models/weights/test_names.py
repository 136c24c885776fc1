import pytest
import torch
from torch import nn

from videokd.models.weights.names import rename
from videokd.models.zoo import get_architecture

# Importing pytorchvideo imports fvcore.nn, which scripts a function.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


def _randomise(net):
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


def _tiny(name, **options):
    options = {"num_frames": 4, "crop_size": 32, "depth_factor": 0.5, **options}
    return get_architecture(name, **options).build_plain(num_classes=5)


def _resnet(name):
    from pytorchvideo.models import hub

    return getattr(hub, name)(
        pretrained=False, stem_dim_out=8, model_num_class=5, head_pool=nn.AdaptiveAvgPool3d
    )


def _clips():
    return torch.randn(2, 3, 4, 32, 32)


def _foreign_state(modules):
    """Return the tensors of (foreign name, module of ours), under the foreign names."""
    return {
        f"{name}.{key}": value.clone()
        for name, module in modules
        if module is not None
        for key, value in module.state_dict().items()
    }


def _check_round_trip(make, foreign_modules, family, architecture, change=lambda state: state):
    """Rename a network's tensors to foreign names; ``rename`` must bring them back bit by bit."""
    net = _randomise(make())
    foreign = change(_foreign_state(foreign_modules(net)))
    assert foreign.keys().isdisjoint(net.state_dict())
    renamed = rename(foreign, family=family, architecture=architecture)
    assert renamed.state.keys() == net.state_dict().keys()
    other = make().eval()
    other.load_state_dict(renamed.state, strict=True)
    clips = _clips()
    with torch.no_grad():
        assert torch.equal(other(clips), net(clips))
    return renamed.convention


# What follows walks our networks in the order in which PySlowFast's and MMAction2's modules are
# built, and says what each is called there; nothing of it is shared with the rules under test.


def _pyslowfast_block(prefix, block):
    yield f"{prefix}.branch1", block.branch1_conv
    yield f"{prefix}.branch1_bn", block.branch1_norm
    for part in "abc":
        yield f"{prefix}.branch2.{part}", getattr(block.branch2, f"conv_{part}")
        norm = getattr(block.branch2, f"norm_{part}")
        if isinstance(norm, nn.Sequential):
            norm, attention = norm
            if not isinstance(attention, nn.Identity):
                yield f"{prefix}.branch2.se.fc1", attention.block[0]
                yield f"{prefix}.branch2.se.fc2", attention.block[2]
        yield f"{prefix}.branch2.{part}_bn", norm


def _pyslowfast_stages(net):
    stages = [block for block in net.blocks if hasattr(block, "res_blocks")]
    for i, stage in enumerate(stages, start=2):
        for j, block in enumerate(stage.res_blocks):
            yield from _pyslowfast_block(f"s{i}.pathway0_res{j}", block)


def _pyslowfast_resnet(net):
    yield "s1.pathway0_stem.conv", net.blocks[0].conv
    yield "s1.pathway0_stem.bn", net.blocks[0].norm
    yield from _pyslowfast_stages(net)
    yield "head.projection", net.blocks[-1].proj


def _pyslowfast_x3d(net):
    stem, *_, head = net.blocks
    yield "s1.pathway0_stem.conv_xy", stem.conv.conv_t
    yield "s1.pathway0_stem.conv", stem.conv.conv_xy
    yield "s1.pathway0_stem.bn", stem.norm
    yield from _pyslowfast_stages(net)
    yield "head.conv_5", head.pool.pre_conv
    yield "head.conv_5_bn", head.pool.pre_norm
    yield "head.lin_5", head.pool.post_conv
    yield "head.projection", head.proj


def _pyslowfast_slowfast(net):
    for i, stage in enumerate(net.blocks[:5], start=1):
        for path, part in enumerate(stage.multipathway_blocks):
            if i == 1:
                yield f"s1.pathway{path}_stem.conv", part.conv
                yield f"s1.pathway{path}_stem.bn", part.norm
                continue
            for j, block in enumerate(part.res_blocks):
                yield from _pyslowfast_block(f"s{i}.pathway{path}_res{j}", block)
        if i < 5:
            yield f"s{i}_fuse.conv_f2s", stage.multipathway_fusion.conv_fast_to_slow
            yield f"s{i}_fuse.bn", stage.multipathway_fusion.norm
    yield "head.projection", net.blocks[6].proj


def _pyslowfast_mvit(net):
    yield "patch_embed.proj", net.conv_proj
    for i, block in enumerate(net.blocks):
        yield f"blocks.{i}.norm1", block.norm1
        yield f"blocks.{i}.attn.qkv", block.attn.qkv
        yield f"blocks.{i}.attn.proj", block.attn.project[0]
        for part in "qkv":
            pool = getattr(block.attn, f"pool_{part}")
            yield f"blocks.{i}.attn.pool_{part}", pool.pool
            yield f"blocks.{i}.attn.norm_{part}", pool.norm_act[0]
        yield f"blocks.{i}.norm2", block.norm2
        yield f"blocks.{i}.mlp.fc1", block.mlp[0]
        yield f"blocks.{i}.mlp.fc2", block.mlp[3]
        yield f"blocks.{i}.proj", block.project
    yield "norm", net.norm
    yield "head.projection", net.head[1]


def _mmaction2_block(prefix, block):
    yield f"{prefix}.downsample.conv", block.branch1_conv
    yield f"{prefix}.downsample.bn", block.branch1_norm
    for i, part in enumerate("abc", start=1):
        yield f"{prefix}.conv{i}.conv", getattr(block.branch2, f"conv_{part}")
        norm = getattr(block.branch2, f"norm_{part}")
        if isinstance(norm, nn.Sequential):
            norm, attention = norm
            if not isinstance(attention, nn.Identity):
                yield f"{prefix}.se_module.fc1", attention.block[0]
                yield f"{prefix}.se_module.fc2", attention.block[2]
        yield f"{prefix}.conv{i}.bn", norm


def _mmaction2_layers(prefix, stages):
    for i, stage in enumerate(stages, start=1):
        for j, block in enumerate(stage.res_blocks):
            yield from _mmaction2_block(f"{prefix}.layer{i}.{j}", block)


def _mmaction2_resnet(net):
    yield "backbone.conv1.conv", net.blocks[0].conv
    yield "backbone.conv1.bn", net.blocks[0].norm
    yield from _mmaction2_layers("backbone", [b for b in net.blocks if hasattr(b, "res_blocks")])
    yield "cls_head.fc_cls", net.blocks[-1].proj


def _mmaction2_x3d(net):
    yield "backbone.conv1_s.conv", net.blocks[0].conv.conv_t
    yield "backbone.conv1_t.conv", net.blocks[0].conv.conv_xy
    yield "backbone.conv1_t.bn", net.blocks[0].norm
    yield from _mmaction2_layers("backbone", net.blocks[1:5])
    yield "backbone.conv5.conv", net.blocks[5].pool.pre_conv
    yield "backbone.conv5.bn", net.blocks[5].pool.pre_norm
    yield "cls_head.fc1", net.blocks[5].pool.post_conv
    yield "cls_head.fc2", net.blocks[5].proj


def _mmaction2_slowfast(net):
    stem, *stages = net.blocks[:5]
    for path, name in enumerate(("backbone.slow_path", "backbone.fast_path")):
        yield f"{name}.conv1.conv", stem.multipathway_blocks[path].conv
        yield f"{name}.conv1.bn", stem.multipathway_blocks[path].norm
        yield from _mmaction2_layers(name, [stage.multipathway_blocks[path] for stage in stages])
    for layer, stage in zip(("conv1", "layer1", "layer2", "layer3"), net.blocks[:4], strict=True):
        lateral = f"backbone.slow_path.{layer}_lateral"
        yield f"{lateral}.conv", stage.multipathway_fusion.conv_fast_to_slow
        yield f"{lateral}.bn", stage.multipathway_fusion.norm
    yield "cls_head.fc_cls", net.blocks[6].proj


@pytest.mark.parametrize("name", ["slow_r50", "c2d_r50", "i3d_r50"])
@pytest.mark.parametrize(
    ("modules", "whose"), [(_pyslowfast_resnet, "PySlowFast's"), (_mmaction2_resnet, "MMAction2's")]
)
def test_residual_networks_come_back(name, modules, whose):
    assert _check_round_trip(lambda: _resnet(name), modules, "ptv_resnet", name) == whose


def test_a_slowfast_of_pyslowfast_comes_back():
    def make():
        return _tiny("slowfast_r50", width_factor=0.125)

    convention = _check_round_trip(make, _pyslowfast_slowfast, "slowfast", "slowfast_r50")
    assert convention == "PySlowFast's"


def test_a_slowfast_of_mmaction2_comes_back_with_its_classifiers_columns_exchanged():
    def make():
        return _tiny("slowfast_r50", width_factor=0.125)

    def put_fast_first(state):
        head = state["cls_head.fc_cls.weight"]  # 256 channels of the slow path, 32 of the fast
        return {**state, "cls_head.fc_cls.weight": torch.cat([head[:, 256:], head[:, :256]], dim=1)}

    convention = _check_round_trip(
        make, _mmaction2_slowfast, "slowfast", "slowfast_r50", put_fast_first
    )
    assert convention == "MMAction2's; the classifier's columns of the two paths exchanged"


def test_an_x3d_of_pyslowfast_comes_back():
    def make():
        return _tiny("x3d_s", width_factor=0.25)

    assert _check_round_trip(make, _pyslowfast_x3d, "x3d", "x3d_s") == "PySlowFast's"


def test_an_x3d_of_mmaction2_comes_back():
    def make():
        return _tiny("x3d_s", width_factor=0.25)

    def make_linear(state):
        return {**state, "cls_head.fc1.weight": state["cls_head.fc1.weight"].flatten(1)}

    assert _check_round_trip(make, _mmaction2_x3d, "x3d", "x3d_s", make_linear) == "MMAction2's"


@pytest.mark.parametrize("modules", [_pyslowfast_x3d, _mmaction2_x3d])
def test_the_norm_that_x3d_lacks_here_is_folded_away_and_the_logits_stay(modules):
    net = _tiny("x3d_s", width_factor=0.25)
    block = net.blocks[1].res_blocks[0]
    block.branch1_norm = nn.BatchNorm3d(block.branch1_conv.out_channels)  # as both toolkits have it
    _randomise(net)
    foreign = _foreign_state(modules(net))
    renamed = rename(foreign, family="x3d", architecture="x3d_s")
    assert renamed.convention.endswith("the shortcut's norm of blocks.1.res_blocks.0 folded")
    other = _tiny("x3d_s", width_factor=0.25).eval()
    other.load_state_dict(renamed.state, strict=True)
    clips = _clips()
    with torch.no_grad():
        torch.testing.assert_close(other(clips), net(clips), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("separate", [False, True])
def test_an_mvit_of_pyslowfast_comes_back_in_torchvisions_names(separate):
    def make():
        return _tiny("mvit_v2_s", width_factor=1 / 6, depth_factor=0.3)

    def add_others(state):
        for i, block in enumerate(net.blocks):
            for axis in "hwt":
                state[f"blocks.{i}.attn.rel_pos_{axis}"] = getattr(block.attn, f"rel_pos_{axis}")
            if separate:
                for key in ("weight", "bias"):
                    joined = state.pop(f"blocks.{i}.attn.qkv.{key}")
                    for part, value in zip("qkv", joined.chunk(3), strict=True):
                        state[f"blocks.{i}.attn.{part}.{key}"] = value
        return {**state, "cls_token": net.pos_encoding.class_token.view(1, 1, -1)}

    net = make().eval()
    foreign = add_others(_foreign_state(_pyslowfast_mvit(net)))
    renamed = rename(foreign, family="mvit", architecture="mvit_v2_s")
    other = make().eval()
    other.load_state_dict(renamed.state, strict=True)
    clips = _clips()
    with torch.no_grad():
        assert torch.equal(other(clips), net(clips))


def test_position_embeddings_of_pyslowfast_lose_the_axes_of_size_one():
    shapes = {"spatial": (1, 49, 8), "temporal": (1, 4, 8), "class": (1, 1, 8)}
    state = {f"pos_embed_{axis}": torch.randn(shape) for axis, shape in shapes.items()}
    rest = {"patch_embed.proj.bias": torch.zeros(8), "head.projection.bias": torch.zeros(5)}
    renamed = rename({**state, **rest}, family="mvit", architecture="mvit_v1_b").state
    got = {axis: tuple(renamed[f"pos_encoding.{axis}_pos"].shape) for axis in shapes}
    assert got == {"spatial": (49, 8), "temporal": (4, 8), "class": (8,)}


@pytest.mark.parametrize("joined", [False, True])
def test_an_mvit_of_pyslowfast_comes_back_in_pytorchvideos_names(joined):
    from pytorchvideo.models.vision_transformers import create_multiscale_vision_transformers

    def make():
        return create_multiscale_vision_transformers(
            **{"spatial_size": 32, "temporal_size": 4, "depth": 2, "patch_embed_dim": 8},
            **{"embed_dim_mul": [[1, 2.0]], "atten_head_mul": [[1, 2.0]]},
            **{"pool_q_stride_size": [[1, 1, 2, 2]], "pool_kv_stride_adaptive": [1, 2, 2]},
            **{"pool_kvq_kernel": [3, 3, 3], "head_num_classes": 5},
        ).eval()

    net = make()
    foreign = {}
    for name, value in net.blocks.state_dict().items():
        foreign[f"blocks.{name}"] = value
    for name in ("cls_token", "pos_embed_spatial", "pos_embed_temporal", "pos_embed_class"):
        foreign[name] = getattr(net.cls_positional_encoding, name)
    modules = [("patch_embed.proj", net.patch_embed.patch_model), ("norm", net.norm_embed)]
    foreign.update(_foreign_state([*modules, ("head.projection", net.head.proj)]))
    if joined:
        for i in range(2):
            for key in ("weight", "bias"):
                parts = [foreign.pop(f"blocks.{i}.attn.{part}.{key}") for part in "qkv"]
                foreign[f"blocks.{i}.attn.qkv.{key}"] = torch.cat(parts)
    renamed = rename(foreign, family="ptv_mvit", architecture="mvit_b_16x4")
    other = make()
    other.load_state_dict(renamed.state, strict=True)
    clips = _clips()
    with torch.no_grad():
        assert torch.equal(other(clips), net(clips))


@pytest.mark.parametrize("shifted", ["", "conv", "block"])
def test_an_image_network_of_mmaction2_gets_torchvisions_names(shifted):
    from torchvision.models.resnet import Bottleneck, ResNet

    net = ResNet(Bottleneck, [2, 1, 1, 1], num_classes=5)
    modules = [("backbone.conv1.conv", net.conv1), ("backbone.conv1.bn", net.bn1)]
    for i, layer in enumerate((net.layer1, net.layer2, net.layer3, net.layer4), start=1):
        for j, block in enumerate(layer):
            prefix = f"backbone.layer{i}.{j}" + (".net" if shifted == "block" else "")
            for k in (1, 2, 3):
                wrapper = ".net" if shifted == "conv" and k == 1 else ""
                modules.append((f"{prefix}.conv{k}.conv{wrapper}", getattr(block, f"conv{k}")))
                modules.append((f"{prefix}.conv{k}.bn", getattr(block, f"bn{k}")))
            if block.downsample is not None:
                modules.append((f"{prefix}.downsample.conv", block.downsample[0]))
                modules.append((f"{prefix}.downsample.bn", block.downsample[1]))
    modules.append(("cls_head.fc_cls", net.fc))
    renamed = rename(_foreign_state(modules), family="timm_frames", architecture="resnet50")
    assert renamed.state.keys() == net.state_dict().keys()
    assert all(torch.equal(v, net.state_dict()[name]) for name, v in renamed.state.items())


def test_a_backbone_without_its_head_is_recognised():
    foreign = _foreign_state(_mmaction2_resnet(_resnet("slow_r50")))
    bare = {k.removeprefix("backbone."): v for k, v in foreign.items() if k[0] == "b"}
    renamed = rename(bare, family="ptv_resnet", architecture="slow_r50")
    assert renamed.convention == "MMAction2's"
    assert all(name.startswith("blocks.") for name in renamed.state)
