import pytest
import torch

from videokd.models.joined import HEAD, JoinedClassifier

NUM_CLASSES = {"b": 4, "a": 3, "c": 2}


@pytest.fixture
def joined(make_classifier):
    return JoinedClassifier(make_classifier(num_classes={HEAD: 9}), NUM_CLASSES)


def test_a_datasets_logits_are_its_slice_of_all_in_the_order_of_the_datasets(joined):
    embedding = torch.randn(5, joined.classifier.backbone.embedding_dim)
    logits = joined.classify_all(embedding)
    assert logits.shape == (5, 9)
    assert torch.equal(joined.classify(embedding, "b"), logits[:, 0:4])
    assert torch.equal(joined.classify(embedding, "a"), logits[:, 4:7])
    assert torch.equal(joined.classify(embedding, "c"), logits[:, 7:9])
    assert joined.first_class == {"b": 0, "a": 4, "c": 7}


def test_features_are_those_of_the_classifier(joined):
    clips = {"clip": torch.rand(2, 3, 4, 32, 32)}
    joined.eval()
    mine, own = joined(clips), joined.classifier(clips)
    assert torch.equal(mine.embedding, own.embedding)
    assert mine.levels.keys() == own.levels.keys()


def test_an_unknown_dataset_is_refused(joined):
    with pytest.raises(KeyError, match="^'d'$"):
        joined.classify(torch.zeros(1, joined.classifier.backbone.embedding_dim), "d")
