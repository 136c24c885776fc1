"""Round trips with real files: a library's network is saved in a toolkit's way and loaded here."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import video

from videokd.models.classifier import VideoClassifier
from videokd.models.weights.load import load_pretrained
from videokd.models.zoo import get_architecture
from videokd.utils.errors import InputError

# Importing pytorchvideo imports fvcore.nn, which scripts a function.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
CLIPS = torch.rand(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def make_pair(make_architecture):
    """``make_pair(name, num_classes={"a": 5})``: a library's network, a model of ours, and what
    both are of."""

    def make(name, num_classes=None, **options):
        architecture = make_architecture(name, num_frames=8)
        torch.manual_seed(1)
        net = architecture.build_plain(5).eval()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        torch.manual_seed(2)
        model = VideoClassifier(architecture.build_backbone(), num_classes or {"a": 5}, **options)
        return net, model, architecture

    return make


def _logits(model, dataset="a"):
    with torch.no_grad():
        return model.classify(model.eval()({"clip": CLIPS}).embedding, dataset)


def _save_as(kind, state, folder):
    path = folder / "weights.pth"
    if kind == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(state, path)
    elif kind == "slowfast":
        path = path.with_suffix(".pyth")
        optimizer = {"state": {}, "param_groups": [{"lr": 0.1}]}
        content = {"epoch": 9, "model_state": state, "optimizer_state": optimizer, "cfg": "A: 1"}
        torch.save(content, path)
    elif kind == "data parallel":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    elif kind == "compiled":
        torch.save({f"_orig_mod.{k}": v for k, v in state.items()}, path)
    else:
        torch.save(state, path)
    return str(path)


@pytest.mark.parametrize(
    "name", ["r2plus1d_18", "s3d", "swin3d_t", "mvit_v2_s", "slow_r50", "x3d_s"]
)
@pytest.mark.parametrize("kind", ["plain", "safetensors", "slowfast", "data parallel", "compiled"])
def test_a_librarys_network_comes_back_bit_equal_from_its_file(make_pair, tmp_path, kind, name):
    net, model, architecture = make_pair(name)
    report = load_pretrained(model, architecture, _save_as(kind, net.state_dict(), tmp_path))
    assert report.is_whole
    assert report.has_head
    assert report.head == "5 classes, for a"
    ours = {
        **model.backbone.net.state_dict(),
        **model.backbone.head_state(model.heads["a"].state_dict()),
    }
    assert all(torch.equal(value, ours[key]) for key, value in net.state_dict().items())
    with torch.no_grad():
        # s3d classifies every position by a convolution and averages the logits.
        atol = 1e-6 if name == "s3d" else 0
        torch.testing.assert_close(_logits(model), net(CLIPS), rtol=0, atol=atol)


def _mmaction2_modules(net):
    """Yield MMAction2's names of SlowOnly's modules, and these modules of pytorchvideo's."""
    stem, *stages, head = net.blocks
    yield "backbone.conv1.conv", stem.conv
    yield "backbone.conv1.bn", stem.norm
    for i, stage in enumerate(stages, start=1):
        for j, block in enumerate(stage.res_blocks):
            name = f"backbone.layer{i}.{j}"
            if block.branch1_conv is not None:
                yield f"{name}.downsample.conv", block.branch1_conv
                yield f"{name}.downsample.bn", block.branch1_norm
            for k, part in enumerate("abc", start=1):
                yield f"{name}.conv{k}.conv", getattr(block.branch2, f"conv_{part}")
                yield f"{name}.conv{k}.bn", getattr(block.branch2, f"norm_{part}")
    yield "cls_head.fc_cls", head.proj


def test_a_file_of_mmaction2_comes_back_bit_equal(make_pair, tmp_path):
    net, model, architecture = make_pair("slow_r50")
    state = {
        f"{name}.{key}": value
        for name, module in _mmaction2_modules(net)
        for key, value in module.state_dict().items()
    }
    assert len(state) == len(net.state_dict())
    torch.save({"meta": {"epoch": 3}, "state_dict": state}, tmp_path / "a.pth")
    report = load_pretrained(model, architecture, str(tmp_path / "a.pth"))
    assert report.convention.startswith("MMAction2's")
    assert report.is_whole
    with torch.no_grad():
        assert torch.equal(_logits(model), net(CLIPS))


def test_torchvisions_own_network_comes_back_bit_equal(tmp_path):
    net = video.mc3_18(weights=None, num_classes=5).eval()
    architecture = get_architecture("mc3_18", num_frames=8, crop_size=32)
    with torch.random.fork_rng():
        model = VideoClassifier(architecture.build_backbone(), {"a": 5})
    torch.save(net.state_dict(), tmp_path / "a.pth")
    load_pretrained(model, architecture, str(tmp_path / "a.pth"))
    with torch.no_grad():
        assert torch.equal(_logits(model), net(CLIPS))


@pytest.mark.parametrize("heads", [{"a": 5}, {"other": 5}, {"a": 5, "b": 4}])
def test_a_model_of_ours_comes_back_bit_equal(make_pair, tmp_path, heads):
    _, trained, architecture = make_pair("r3d_18", heads)
    _, model, _ = make_pair("r3d_18")
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    report = load_pretrained(model, architecture, str(tmp_path))
    assert report.is_whole
    assert report.note == f"a model of videokd's with classifiers for {', '.join(heads)}"
    assert torch.equal(_logits(model), _logits(trained, next(iter(heads))))


def test_a_checkpoint_of_a_training_gives_its_model(make_pair, tmp_path):
    _, trained, architecture = make_pair("r3d_18")
    _, model, _ = make_pair("r3d_18")
    nn.init.normal_(trained.heads["a"].weight)
    task = {f"model.{name}": value for name, value in trained.state_dict().items()}
    save_file({**task, "objective.projectors.0.weight": torch.ones(2)}, tmp_path / "a.safetensors")
    assert load_pretrained(model, architecture, str(tmp_path / "a.safetensors")).is_whole
    assert torch.equal(_logits(model), _logits(trained))


def test_of_several_classifiers_none_is_taken_where_none_has_the_datasets_name(make_pair, tmp_path):
    _, trained, architecture = make_pair("r3d_18", {"b": 5, "c": 5})
    _, model, _ = make_pair("r3d_18")
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    report = load_pretrained(model, architecture, str(tmp_path))
    assert report.is_whole
    assert report.head == "as initialised: the file has none (a has 5)"


def test_a_classifier_of_other_classes_stays_as_initialised_and_that_is_said(make_pair, tmp_path):
    net, model, architecture = make_pair("r3d_18", {"a": 4, "b": 3})
    before = {name: head.weight.clone() for name, head in model.heads.items()}
    report = load_pretrained(model, architecture, _save_as("plain", net.state_dict(), tmp_path))
    assert report.is_whole
    assert not report.has_head
    assert report.head == "as initialised: the file has 5 classes, a has 4, b has 3"
    assert all(torch.equal(head.weight, before[name]) for name, head in model.heads.items())
    assert torch.equal(model.backbone.net.stem[0].weight, net.stem[0].weight)


def test_weights_without_a_classifier_are_whole(make_pair, tmp_path):
    net, model, architecture = make_pair("r3d_18")
    state = {name: v for name, v in net.state_dict().items() if not name.startswith("fc.")}
    report = load_pretrained(model, architecture, _save_as("plain", state, tmp_path))
    assert report.is_whole
    assert report.head == "as initialised: the file has none (a has 5)"


def test_all_classifiers_of_its_number_of_classes_get_the_files(make_pair, tmp_path):
    net, model, architecture = make_pair("r3d_18", {"a": 5, "b": 3, "c": 5})
    report = load_pretrained(model, architecture, _save_as("plain", net.state_dict(), tmp_path))
    assert report.head == "5 classes, for a, c"
    assert torch.equal(_logits(model, "a"), _logits(model, "c"))


def test_weights_keep_the_models_memory_format_and_dtype(make_pair, tmp_path):
    net, model, architecture = make_pair("r3d_18", memory_format="channels_last_3d")
    state = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    load_pretrained(model, architecture, _save_as("safetensors", state, tmp_path))
    weight = model.backbone.net.layer1[0].conv1[0].weight
    assert weight.dtype == torch.float32
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def _spoil(state):
    renamed = {("extra" if k == "stem.0.weight" else k): v for k, v in state.items()}
    return {**renamed, "layer1.0.conv1.1.bias": torch.zeros(9)}


def test_what_does_not_fit_is_refused_with_the_report_and_nothing_is_changed(make_pair, tmp_path):
    net, model, architecture = make_pair("r3d_18")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    source = _save_as("plain", _spoil(net.state_dict()), tmp_path)
    with pytest.raises(InputError, match="not all of r3d_18; check ARCH") as caught:
        load_pretrained(model, architecture, source)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"weights {source}"
    assert "  missing     1: stem.0.weight" in lines
    assert "  unexpected  1: extra" in lines
    assert "  other shape 1: layer1.0.conv1.1.bias 9 -> 8" in lines
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_does_not_fit_is_left_out_when_that_is_allowed(make_pair, tmp_path):
    net, model, architecture = make_pair("r3d_18")
    stem = model.backbone.net.stem[0].weight.clone()
    source = _save_as("plain", _spoil(net.state_dict()), tmp_path)
    report = load_pretrained(model, architecture, source, is_strict=False)
    assert report.missing == ("stem.0.weight",)
    assert not report.is_whole
    assert torch.equal(model.backbone.net.stem[0].weight, stem)
    assert torch.equal(model.backbone.net.layer4[0].conv1[0].weight, net.layer4[0].conv1[0].weight)


def test_weights_of_another_network_are_refused_even_when_not_strict(make_pair, tmp_path):
    net, _, _ = make_pair("x3d_s")
    _, model, architecture = make_pair("r3d_18")
    source = _save_as("plain", net.state_dict(), tmp_path)
    with pytest.raises(InputError, match=r"missing [\s\S]*, and \d+ more[\s\S]*is of r3d_18"):
        load_pretrained(model, architecture, source, is_strict=False)


def test_patterns_rename_and_leave_out(make_pair, tmp_path):
    net, model, architecture = make_pair("r3d_18")
    state = {f"enc/{k}": v for k, v in net.state_dict().items()}
    source = _save_as("plain", {**state, "ema_decay": torch.ones(1)}, tmp_path)
    patterns = [["^enc/", ""], ["^ema_.*", ""]]
    assert load_pretrained(model, architecture, source, patterns=patterns).is_whole
    with torch.no_grad():
        assert torch.equal(_logits(model), net(CLIPS))


def test_patterns_that_make_two_names_one_are_refused(make_pair, tmp_path):
    net, model, architecture = make_pair("r3d_18")
    source = _save_as("plain", net.state_dict(), tmp_path)
    with pytest.raises(InputError, match="WEIGHTS_RENAME makes two tensors 'layer1"):
        load_pretrained(model, architecture, source, patterns=[["^layer2", "layer1"]])


def test_a_transformer_takes_the_positions_of_another_clip_size(tmp_path):
    scale = {"width_factor": 1 / 6, "depth_factor": 0.3}
    large = get_architecture("mvit_v2_s", num_frames=16, crop_size=64, **scale)
    small = get_architecture("mvit_v2_s", num_frames=8, crop_size=32, **scale)
    torch.save(large.build_plain(5).state_dict(), tmp_path / "a.pth")
    model = VideoClassifier(small.build_backbone(), {"a": 5})
    report = load_pretrained(model, small, str(tmp_path / "a.pth"))
    assert report.is_whole
    assert report.adapted
    assert all("rel_pos" in change.name for change in report.adapted)
    assert _logits(model).isfinite().all()


@pytest.mark.parametrize("name", ["videomae_b", "timesformer_b", "vivit_b", "vjepa2_l"])
def test_a_folder_of_hugging_face_comes_back_bit_equal_and_at_another_clip_size(
    make_architecture, tmp_path, name
):
    pytest.importorskip("transformers")
    architecture = make_architecture(name, num_frames=8)
    net = architecture.build_plain(5).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    net.save_pretrained(tmp_path)
    model = VideoClassifier(architecture.build_backbone(), {"a": 5})
    assert load_pretrained(model, architecture, str(tmp_path)).has_head
    with torch.no_grad():
        assert torch.equal(_logits(model), net(CLIPS))
    larger = make_architecture(name, num_frames=16, crop_size=48)
    model = VideoClassifier(larger.build_backbone(), {"a": 5})
    report = load_pretrained(model, larger, str(tmp_path))
    assert report.is_whole
    assert all("embeddings" in change.name for change in report.adapted)


def test_the_report_reads_as_lines(make_pair, tmp_path):
    net, model, architecture = make_pair("x3d_s", {"a": 4})
    source = _save_as("slowfast", net.state_dict(), tmp_path)
    lines = str(load_pretrained(model, architecture, source)).splitlines()
    assert lines[0] == f"weights {source}"
    assert lines[1].startswith("  loaded      ")
    assert lines[1].endswith("tensors, names: its library's")
    assert lines[2:] == ["  classifier  as initialised: the file has 5 classes, a has 4"]
