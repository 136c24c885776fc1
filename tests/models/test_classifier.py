import pytest
import torch

from videokd.models.levels import LEVEL_NAMES
from videokd.models.normalizer import ClipNormalizer

FAMILIES = ["r3d_18", "r2plus1d_18", "x3d_s", "mvit_v2_s"]


def _relative_error(value, expected):
    return ((value.float() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", FAMILIES)
def test_normalisation_inside_is_normalisation_by_hand(make_classifier, name):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    model = make_classifier(name, normalizer=ClipNormalizer(mean, std)).eval()
    clips = torch.rand(2, 3, 4, 32, 32)
    by_hand = torch.stack([(clips[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(
            model({"clip": clips}).embedding, model.backbone(by_hand).embedding
        )


def test_of_clips_of_several_shapes_a_network_takes_its_own(make_classifier):
    model = make_classifier(clip_name="4x2x32").eval()
    clips = torch.rand(2, 3, 4, 32, 32)
    with torch.no_grad():
        alone = model({"4x2x32": clips}).embedding
        picked = model({"2x1x16": torch.rand(2, 3, 2, 16, 16), "4x2x32": clips}).embedding
    assert torch.equal(picked, alone)
    with pytest.raises(ValueError, match="the network takes clips '4x2x32', got 2x1x16, a"):
        model({"2x1x16": clips, "a": clips})


@pytest.mark.parametrize("name", FAMILIES)
def test_bf16_is_close_to_float32_and_logits_are_float32(make_classifier, name):
    model = make_classifier(name).eval()
    clips = {"clip": torch.rand(2, 3, 4, 32, 32)}
    with torch.no_grad():
        expected = model(clips)
        model.precision = "bf16"
        features = model(clips)
        logits = model.classify(features.embedding, "a")
    assert not torch.equal(features.embedding.float(), expected.embedding)
    assert logits.dtype == torch.float32
    for level in LEVEL_NAMES:
        assert _relative_error(features.levels[level], expected.levels[level]) < 0.05
    assert _relative_error(features.embedding, expected.embedding) < 0.05


@pytest.mark.parametrize("name", FAMILIES)
def test_channels_last_is_close_to_contiguous(make_classifier, name):
    contiguous = make_classifier(name).eval()
    last = make_classifier(name, memory_format="channels_last_3d").eval()
    last.load_state_dict(contiguous.state_dict())
    clips = {"clip": torch.rand(2, 3, 4, 32, 32)}
    with torch.no_grad():
        expected, features = contiguous(clips), last(clips)
    for level in LEVEL_NAMES:
        assert _relative_error(features.levels[level], expected.levels[level]) < 1e-5


def test_each_dataset_has_its_own_head(make_classifier):
    model = make_classifier(num_classes={"a": 3, "b": 5}).eval()
    embedding = torch.randn(2, model.backbone.embedding_dim)
    for name, num_classes in {"a": 3, "b": 5}.items():
        logits = model.classify(embedding, name)
        assert logits.shape == (2, num_classes)
        torch.testing.assert_close(logits, embedding @ model.heads[name].weight.T)


def test_dropout_is_before_the_classifiers_and_off_in_evaluation(make_classifier):
    model = make_classifier(dropout=0.5)
    embedding = torch.ones(4, model.backbone.embedding_dim)
    assert not torch.equal(model.classify(embedding, "a"), model.classify(embedding, "a"))
    model.eval()
    assert torch.equal(model.classify(embedding, "a"), model.classify(embedding, "a"))


def test_preprocessing_is_not_in_the_weights_but_moves_with_the_model(make_classifier):
    model = make_classifier(normalizer=ClipNormalizer((0.1, 0.2, 0.3))).to(torch.float64)
    assert not any("normalizer" in key for key in model.state_dict())
    assert model.normalizer.mean.dtype == torch.float64
    assert model.normalizer.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
