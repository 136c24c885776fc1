import copy

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from videokd.models.checkpointing import checkpoint_activations
from videokd.models.classifier import VideoClassifier
from videokd.models.levels import compute_level_shapes
from videokd.models.precision import use_safe_convs
from videokd.models.tuned import Tuned

# Name -> at most this share of the bytes is kept. What the stem keeps stays, and weighs most in
# networks of one narrow block per stage.
FAMILIES = {
    **{"r3d_18": 0.55, "r2plus1d_18": 0.3, "x3d_s": 0.25, "mvit_v2_s": 0.15},
    **{"timm:test_resnet": 0.8, "timm-tsm:test_resnet": 0.75},
    **{"timm:test_convnext": 0.2, "timm:test_vit": 0.2},
}
CLIP = (3, 4, 32, 32)


@pytest.fixture
def make_pair(make_architecture):
    """``make_pair(name)``: a backbone and its copy that computes activations again."""

    def make(name):
        if name.startswith("timm"):
            pytest.importorskip("timm")
        backbone = make_architecture(name).build_backbone()
        for parameter in backbone.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))  # some start at exactly zero
        for module in backbone.modules():
            if type(module).__name__ == "StochasticDepth":
                module.p = 0.5
        return backbone, checkpoint_activations(copy.deepcopy(backbone))

    return make


def _train(model, *, num_steps=2, autocast=False):
    """Return loss and gradients of the last step; the random numbers are the same at each call."""
    torch.manual_seed(0)
    for _ in range(num_steps):
        model.zero_grad()
        clips = torch.randn(2, *CLIP)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            features = model(clips)
        maps = (*features.levels.values(), features.embedding)
        loss = sum(value.float().pow(2).mean() for value in maps)
        loss.backward()
    return loss.detach(), [p.grad for p in model.parameters()]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("autocast", [False, True])
def test_loss_gradients_and_statistics_are_those_of_the_plain_network(make_pair, name, autocast):
    plain, again = make_pair(name)
    if autocast:
        for backbone in (plain, again):
            use_safe_convs(backbone)  # else some gradients are random
    loss, gradients = _train(plain, autocast=autocast)
    same_loss, same_gradients = _train(again, autocast=autocast)
    assert torch.equal(loss, same_loss)
    assert all(torch.equal(a, b) for a, b in zip(gradients, same_gradients, strict=True))
    # Of batch norms: the running mean and variance, and the number of batches.
    state = again.state_dict()
    assert list(state) == list(plain.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in plain.state_dict().items())


def _held_bytes(backbone):
    """Count the bytes that a forward leaves for the backward, but for parameters and clips.

    What checkpoints hold, the inputs of their blocks, does not pass the hooks and is added.
    """
    held = {}
    parameters = {p.untyped_storage().data_ptr() for p in backbone.parameters()}

    def hold(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            held[storage.data_ptr()] = (storage.nbytes(), tensor)  # kept, lest the place be reused
        return tensor

    handles = [
        module.register_forward_pre_hook(lambda _, args: (hold(args[0]), None)[1])
        for module in backbone.modules()
        if "forward" in vars(module)
    ]
    clips = torch.randn(2, *CLIP)
    with saved_tensors_hooks(hold, lambda tensor: tensor):
        features = backbone(clips)
    for handle in handles:
        handle.remove()
    del features
    return sum(size for size, _ in held.values())


@pytest.mark.parametrize(("name", "share"), FAMILIES.items())
def test_less_is_kept_for_the_backward(make_pair, name, share):
    plain, again = make_pair(name)
    assert _held_bytes(again) < share * _held_bytes(plain)


def test_branches_are_dropped_at_random_in_the_networks_compared(make_pair):
    plain, _ = make_pair("mvit_v2_s")
    clips = torch.randn(2, *CLIP)
    assert not torch.equal(plain(clips).embedding, plain(clips).embedding)


def test_without_gradients_and_on_the_meta_device_nothing_changes(make_pair):
    plain, again = make_pair("r3d_18")
    clips = torch.randn(2, *CLIP)
    with torch.no_grad():
        assert torch.equal(plain.eval()(clips).embedding, again.eval()(clips).embedding)
    assert compute_level_shapes(again, CLIP) == compute_level_shapes(plain, CLIP)


def test_parts_that_are_tuned_are_those_of_the_plain_network(make_pair):
    networks = [Tuned(VideoClassifier(b, {"a": 3}), "last_stage") for b in make_pair("r3d_18")]
    gradients = []
    for tuned in networks:
        tuned.train()({"clip": torch.ones(2, *CLIP)}).embedding.sum().backward()
        gradients.append([p.grad for p in tuned.parameters() if p.requires_grad])
    assert len(gradients[0]) > 0
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*(n.buffers() for n in networks), strict=True))


def test_a_copy_computes_with_its_own_weights(make_pair):
    _, again = make_pair("r3d_18")
    copied = copy.deepcopy(again)
    for parameter in copied.parameters():
        nn.init.zeros_(parameter)
    assert not copied(torch.randn(2, *CLIP)).embedding.any()
    assert again(torch.randn(2, *CLIP)).embedding.any()


def test_the_whole_is_still_compiled_as_one_graph(make_pair):
    plain, again = make_pair("r3d_18")
    expected = _train(plain, num_steps=1)
    torch.compiler.reset()
    compiled = torch.compile(again, fullgraph=True, backend="aot_eager")
    loss, gradients = _train(compiled, num_steps=1)
    torch.testing.assert_close(loss, expected[0])
    for value, other in zip(gradients, expected[1], strict=True):
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5)
    assert int(again.net.stem[1].num_batches_tracked) == 1
    for (key, value), other in zip(plain.named_buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(value, other, msg=key)
