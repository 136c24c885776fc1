import pytest
import torch

from videokd.models.normalizer import ClipNormalizer


@pytest.mark.parametrize(("channels", "order"), [("rgb", [0, 1, 2]), ("bgr", [2, 1, 0])])
def test_each_colour_has_its_own_mean_and_place(channels, order):
    clips = torch.rand(2, 3, 4, 5, 6)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    by_hand = torch.stack([(clips[:, c] - mean[c]) / std[c] for c in order], dim=1)
    assert torch.equal(ClipNormalizer(mean, std, channels)(clips), by_hand)


def test_nothing_of_it_is_weights():
    normalizer = ClipNormalizer((0.1, 0.2, 0.3))
    assert not normalizer.state_dict()
    assert not list(normalizer.parameters())


def test_another_order_of_colours_is_refused():
    with pytest.raises(ValueError, match='channels must be "rgb" or "bgr", got \'gbr\''):
        ClipNormalizer(channels="gbr")
