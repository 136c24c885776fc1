import copy
from functools import partial

import pytest
import torch

from videokd.config import load_config, named_node
from videokd.fusion.joint_teacher import JointTeacher
from videokd.fusion.options import FusionOptions
from videokd.models.build import build_architecture, build_classifier, fill_model_inputs
from videokd.models.levels import compute_level_shapes
from videokd.utils.errors import InputError


def _build(seed, **nodes):
    cfg = named_node("STUDENTS")
    cfg.ARCH, cfg.WIDTH_FACTOR, cfg.DEPTH_FACTOR = "mc3_18", 0.125, 0.5
    cfg.DROPOUT, cfg.PRECISION, cfg.MEMORY_FORMAT = 0.25, "bf16", "channels_last_3d"
    cfg.MEAN, cfg.STD, cfg.COLOR_ORDER = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6], "bgr"
    cfg.CHECKPOINT_ACTIVATIONS = True
    cfg.update(nodes)
    architecture = build_architecture(cfg, num_frames=4, crop_size=32)
    return build_classifier(cfg, architecture, {"a": 3, "b": 4}, seed=seed)


def test_every_key_of_the_node_reaches_the_model():
    model = _build(seed=0)
    assert model.backbone.net.fc.__class__.__name__ == "Identity"
    assert model.backbone.embedding_dim == 64
    assert len(model.backbone.net.layer1) == 1
    assert "forward" in vars(model.backbone.net.layer1[0])  # which computes it again
    assert model.dropout.p == 0.25
    assert model.precision == "bf16"
    assert model.memory_format == torch.channels_last_3d
    torch.testing.assert_close(model.normalizer.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(model.normalizer.std.flatten(), torch.tensor([0.4, 0.5, 0.6]))
    assert model.normalizer.is_bgr
    assert {name: head.out_features for name, head in model.heads.items()} == {"a": 3, "b": 4}


def test_weights_depend_on_the_seed_only_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    first = _build(seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again, other = _build(seed=1).state_dict(), _build(seed=2).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["heads.a.weight"], other["heads.a.weight"])


def _load(tmp_path, *overrides):
    path = tmp_path / "config.yaml"
    path.write_text(
        "DATASETS: {A: {ROOT: a}}\n"
        "EXPERTS: {A: {ARCH: mvit_v2_s}}\n"
        "STUDENTS: {A: {ARCH: r3d_18}}\n"
        "DATA: {SHORT_SIDE: 256, CROP_SIZE: 224}\n"
    )
    return load_config(path, overrides)


def test_a_network_is_fed_with_its_own_input_where_the_config_says_so(tmp_path):
    own = ["EXPERTS.A.NUM_FRAMES", "-1", "EXPERTS.A.SAMPLING_RATE", "-1"]
    cfg = _load(tmp_path, *own, "EXPERTS.A.CROP_SIZE", "-1")
    expert = fill_model_inputs(cfg).EXPERTS.A
    # torchvision's MViT_V2_S_Weights.KINETICS400_V1.
    assert (expert.NUM_FRAMES, expert.SAMPLING_RATE, expert.CROP_SIZE) == (16, 4, 224)
    assert (expert.MEAN, expert.STD, expert.COLOR_ORDER) == ([0.45] * 3, [0.225] * 3, "rgb")
    assert cfg.EXPERTS.A.NUM_FRAMES == -1


def test_what_the_config_says_of_a_networks_input_stays(tmp_path):
    words = ["STUDENTS.A.MEAN", "[0.1, 0.2, 0.3]", "STUDENTS.A.COLOR_ORDER", "bgr"]
    student = fill_model_inputs(_load(tmp_path, *words, "STUDENTS.A.NUM_FRAMES", "5")).STUDENTS.A
    assert (student.NUM_FRAMES, student.SAMPLING_RATE, student.CROP_SIZE) == (5, 0, 0)
    assert (student.MEAN, student.COLOR_ORDER) == ([0.1, 0.2, 0.3], "bgr")
    assert student.STD == [0.22803, 0.22145, 0.216989]


def test_a_networks_own_clips_must_fit_those_of_all(tmp_path):
    words = ["EXPERTS.A.CROP_SIZE", "-1", "DATA.CROP_SIZE", "112"]
    with pytest.raises(InputError, match=r"own input: EXPERTS.A.CROP_SIZE 224 must be <= DATA.C"):
        fill_model_inputs(_load(tmp_path, *words))


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that torch.compile found, run as they are: making kernels takes a minute."""
    found = []

    def backend(graph, inputs):
        found.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch.compiler.reset()
    return found


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_compiled_model_trains_and_scores_as_it_would_without(graphs, precision):
    clips, results = {"clip": torch.rand(2, 3, 4, 32, 32)}, []
    # The graphs that stand for kernels here are run twice by it, statistics and all.
    kept = {"CHECKPOINT_ACTIVATIONS": False}
    for is_compiled in (False, True):
        model = _build(0, COMPILE=is_compiled, PRECISION=precision, DROPOUT=0.0, **kept).train()
        # In bf16, the convolutions are checked before the first step, compiled or not.
        logits = model.classify(model(clips).embedding, "a")
        logits.pow(2).sum().backward()
        gradients = [p.grad for p in model.backbone.parameters()]
        with torch.no_grad():
            scores = model.eval()(clips).embedding
        results.append((logits, scores, *gradients, *model.state_dict().values()))
    assert len(graphs) == 2  # one for training, one for evaluation
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.compiled
def test_many_networks_of_a_family_are_compiled_in_one_process(graphs):
    widths = [0.125, 0.25, 0.375, 0.5, 0.625]
    for width in widths:
        model = _build(0, COMPILE=True, WIDTH_FACTOR=width, CHECKPOINT_ACTIVATIONS=False)
        for mode in (True, False):
            model.train(mode)({"clip": torch.rand(2, 3, 4, 32, 32)})
    assert len(graphs) == 2 * len(widths)


def test_a_fine_tuned_copy_of_a_compiled_expert_is_compiled(graphs):
    for is_compiled in (True, False):
        expert = _build(0, COMPILE=is_compiled, CHECKPOINT_ACTIVATIONS=False)
        num_before = len(graphs)
        shapes = compute_level_shapes(expert.backbone, (3, 4, 32, 32))
        teacher = JointTeacher(
            {"a": expert},
            {"a": shapes},
            shapes=shapes,
            levels=["stage3"],
            num_classes={"a": 3},
            width=4,
            dropout=0.0,
            options=FusionOptions(fine_tune="all"),
        )
        teacher.train()({"clip": torch.rand(2, 3, 4, 32, 32)}).embedding.sum().backward()
        assert len(graphs) - num_before == is_compiled
        assert teacher.experts["a"].module is not expert


def test_a_compiled_models_weights_keep_their_names_and_its_copy_is_eager(graphs):
    model = _build(0, COMPILE=True).eval()
    assert list(model.state_dict()) == list(_build(0).state_dict())
    with torch.no_grad():
        copy.deepcopy(model)({"clip": torch.rand(1, 3, 4, 32, 32)})
    assert graphs == []
