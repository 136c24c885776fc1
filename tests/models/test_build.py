import torch

from videokd.config.defaults import model_template
from videokd.models.build import build_architecture, build_classifier


def _build(seed):
    cfg = model_template()
    cfg.ARCH, cfg.WIDTH_FACTOR, cfg.DEPTH_FACTOR = "mc3_18", 0.125, 0.5
    cfg.DROPOUT, cfg.PRECISION, cfg.MEMORY_FORMAT = 0.25, "bf16", "channels_last_3d"
    cfg.MEAN = [0.1, 0.2, 0.3]
    architecture = build_architecture(cfg, num_frames=4, crop_size=32)
    return build_classifier(cfg, architecture, {"a": 3, "b": 4}, seed=seed)


def test_every_key_of_the_node_reaches_the_model():
    model = _build(seed=0)
    assert model.backbone.net.fc.__class__.__name__ == "Identity"
    assert model.backbone.embedding_dim == 64
    assert len(model.backbone.net.layer1) == 1
    assert model.dropout.p == 0.25
    assert model.use_bf16
    assert model.memory_format == torch.channels_last_3d
    torch.testing.assert_close(model.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    assert {name: head.out_features for name, head in model.heads.items()} == {"a": 3, "b": 4}


def test_weights_depend_on_the_seed_only_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    first = _build(seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again, other = _build(seed=1).state_dict(), _build(seed=2).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["heads.a.weight"], other["heads.a.weight"])
