import copy

import pytest
import torch
from torch import nn

from videokd.engine.buffers import BufferSnapshot
from videokd.fusion import standardise
from videokd.fusion.standardise import PhiStandardiser, RunningStandardiser, equalising_rotation

KINDS = [RunningStandardiser, PhiStandardiser]


def _correlated(channels, *, batch=64, shape=(), seed=0):
    """Features whose channels differ by orders of magnitude and hang together."""
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=torch.Generator().manual_seed(99))
    mixing = mixing * torch.logspace(-1, 1, channels)[:, None]
    x = torch.randn(batch, *shape, channels, generator=rng) @ mixing.T
    return x.movedim(-1, 1) + torch.arange(channels).view(-1, *(1,) * len(shape))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (2, 3, 4)])
def test_before_any_batch_and_in_evaluation_nothing_changes(kind, shape):
    standardiser = kind(3, eps=0.0).eval()
    before = copy.deepcopy(standardiser.state_dict())
    feature = torch.randn(4, 3, *shape)
    torch.testing.assert_close(standardiser(feature), feature)
    assert all(torch.equal(before[k], v) for k, v in standardiser.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (2, 3, 4)])
@pytest.mark.parametrize("num_batches", [1, 3, 4])
def test_inverse_undoes_forward(kind, shape, num_batches):
    standardiser = kind(5, num_calibration=3) if kind is PhiStandardiser else kind(5)
    for seed in range(num_batches):
        standardiser(_correlated(5, shape=shape, seed=seed))
    feature = _correlated(5, shape=shape, seed=9)
    standardiser.eval()
    torch.testing.assert_close(
        standardiser.inverse(standardiser(feature)), feature, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_of_equal_batches_are_those_of_all_together(kind):
    standardiser = kind(4)
    batches = [10.0 * seed + _correlated(4, shape=(2, 2, 2), seed=seed) for seed in range(5)]
    for batch in batches:
        standardiser(batch)
    flat = torch.cat(batches).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(standardiser.mean.double(), flat.mean(dim=1), rtol=1e-5, atol=1e-4)
    covariance = torch.cov(flat, correction=0)
    expected = covariance if kind is PhiStandardiser else covariance.diagonal()
    actual = standardiser.covariance if kind is PhiStandardiser else standardiser.var
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-2)


def test_the_running_statistics_follow_the_documented_recursion():
    standardiser = RunningStandardiser(1, momentum=0.4, eps=0.0)
    # n = 1 sets mean 1, variance 1; n = 2 weighs 1/2; n = 3 weighs 0.4 and not 1/3.
    for batch, mean, var in [
        ((0.0, 2.0), 1.0, 1.0),
        ((3.0, 3.0), 2.0, 0.5 * 1 + 0.5 * 0 + 0.5 * 0.5 * 2**2),
        ((7.0, 7.0), 4.0, 0.6 * 1.5 + 0.4 * 0 + 0.6 * 0.4 * 5**2),
    ]:
        x = torch.tensor(batch).view(2, 1)
        y = standardiser(x)
        assert standardiser.mean.item() == pytest.approx(mean)
        assert standardiser.var.item() == pytest.approx(var)
        # The batch is normalised by the running statistics, its own update included.
        torch.testing.assert_close(y, (x - mean) / var**0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_to_the_input_and_not_through_the_statistics(kind):
    standardiser = kind(3, eps=0.0)
    feature = _correlated(3, batch=8).requires_grad_()
    standardiser(feature).sum().backward()
    # Through a batch norm's statistics this gradient would be zero.
    if kind is RunningStandardiser:
        expected = (1 / standardiser.var.sqrt()).expand(8, 3)
    else:
        expected = (1 / standardiser.covariance.diagonal().mean().sqrt()).expand(8, 3)
    torch.testing.assert_close(feature.grad, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_two_forwards_may_come_before_one_backward(kind):
    standardiser = kind(3, num_calibration=2) if kind is PhiStandardiser else kind(3)
    feature = torch.randn(8, 3, requires_grad=True)
    (standardiser(feature) + standardiser(2 * feature)).pow(2).sum().backward()
    assert feature.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_constant_channels_and_bf16_give_finite_float32(kind):
    feature = torch.zeros(4, 3, 1, 2, 2, dtype=torch.bfloat16)
    feature[:, 0] = torch.randn(4, 1, 2, 2)
    standardiser = kind(3)
    for _ in range(3):
        y = standardiser(feature)
    assert y.dtype == torch.float32
    assert y.isfinite().all()
    assert not y[:, 1:].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_first", [1, 3])
def test_a_restored_state_goes_on_bit_for_bit(kind, num_first):
    make = (lambda: kind(4, num_calibration=2)) if kind is PhiStandardiser else lambda: kind(4)
    through, resumed = make(), make()
    batches = [_correlated(4, seed=seed) for seed in range(5)]
    for batch in batches[:num_first]:
        through(batch)
    state = copy.deepcopy(through.state_dict())
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    resumed.load_state_dict(state)
    for batch in batches[num_first:]:
        assert torch.equal(through(batch), resumed(batch))


@pytest.mark.parametrize("channels", [1, 2, 8, 3, 6, 20, 54])
def test_phi_s_gives_every_channel_the_variance_1_and_keeps_the_geometry(channels):
    standardiser = PhiStandardiser(channels, num_calibration=3, eps=0.0)
    batches = [_correlated(channels, shape=(1, 2, 2), seed=seed) for seed in range(3)]
    for batch in batches:
        standardiser(batch)
    standardiser.eval()
    flat = torch.cat([standardiser(batch) for batch in batches]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(
        flat.var(dim=1, correction=0), torch.ones(channels), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(flat.mean(dim=1), torch.zeros(channels), rtol=0, atol=1e-3)
    # One scale for all distances.
    x = torch.cat(batches).transpose(0, 1).flatten(1)
    ratios = torch.pdist(x.T[:20].double()) / torch.pdist(flat.T[:20].double())
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios), rtol=1e-4, atol=0)


def test_phi_s_has_one_scale_while_it_calibrates_and_then_stands_still():
    standardiser = PhiStandardiser(4, num_calibration=2)
    standardiser(_correlated(4, seed=0))
    assert not standardiser.is_calibrated
    assert torch.equal(standardiser.rotation, torch.eye(4))
    standardiser(_correlated(4, seed=1))
    assert standardiser.is_calibrated
    state = copy.deepcopy(standardiser.state_dict())
    assert not torch.equal(state["rotation"], torch.eye(4))
    standardiser(100 * _correlated(4, seed=2))
    assert all(torch.equal(state[k], v) for k, v in standardiser.state_dict().items())


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 12, 16, 33, 96])
def test_the_rotation_is_orthogonal_and_makes_all_variances_the_same(channels):
    covariance = torch.cov(_correlated(channels).double().T).view(channels, channels)
    rotation = equalising_rotation(covariance)
    assert rotation.dtype == torch.float64
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(channels).double())
    variances = (rotation @ covariance @ rotation.T).diagonal()
    mean = covariance.diagonal().mean()
    torch.testing.assert_close(variances, mean.expand(channels), rtol=1e-8, atol=0)


@pytest.mark.parametrize("channels", [4, 6])
def test_covariances_without_full_rank_or_zero_are_equalised_too(channels):
    one = torch.zeros(channels, channels)
    one[1, 1] = 3.0
    rotation = equalising_rotation(one)
    variances = (rotation @ one @ rotation.T).diagonal()
    torch.testing.assert_close(variances, torch.full((channels,), 3.0 / channels))
    zero = equalising_rotation(torch.zeros(channels, channels))
    torch.testing.assert_close(zero @ zero.T, torch.eye(channels))


def test_for_powers_of_two_the_rotation_is_hadamards_times_the_eigenvectors():
    covariance = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    # The eigenvectors are the axes, up to sign: every entry is one half in size.
    torch.testing.assert_close(equalising_rotation(covariance).abs(), torch.full((4, 4), 0.5))


def test_a_last_batch_that_is_not_finite_is_not_the_last_one():
    phi = PhiStandardiser(3, num_calibration=1)
    kept = copy.deepcopy(phi.state_dict())
    assert torch.isnan(phi(torch.full((4, 3), torch.nan))).all()
    assert not phi.is_calibrated
    phi.load_state_dict(kept)
    assert torch.isfinite(phi(torch.randn(4, 3))).all()
    assert phi.is_calibrated


def test_a_skipped_batch_has_no_weight_in_the_statistics_of_phi_s():
    phi, plain = PhiStandardiser(3, num_calibration=3), PhiStandardiser(3, num_calibration=2)
    batches = [_correlated(3, seed=seed) for seed in range(2)]
    snapshot = BufferSnapshot(nn.ModuleList([phi, nn.Linear(1, 1)]))
    phi(batches[0])
    snapshot.take()
    phi(torch.full((4, 3), torch.nan))
    snapshot.restore_unless(torch.tensor(False))
    phi(batches[1])
    for batch in batches:
        plain(batch)
    assert phi.num_batches == 2
    assert phi.is_calibrated
    for name in ("mean", "covariance", "rotation"):
        assert torch.equal(getattr(phi, name), getattr(plain, name)), name


def test_the_products_of_phi_s_are_float64(monkeypatch):
    dtypes = []
    monkeypatch.setattr(
        standardise, "sum_over_ranks", lambda value: dtypes.append(value.dtype) or value
    )
    PhiStandardiser(3)(_correlated(3))
    assert dtypes == [torch.float64]


def test_the_rotation_is_that_of_the_first_rank(monkeypatch):
    first = torch.eye(3)[[1, 2, 0]]
    monkeypatch.setattr(standardise, "broadcast_from_first", lambda value: first)
    phi = PhiStandardiser(3, num_calibration=1)
    phi(_correlated(3))
    assert torch.equal(phi.rotation, first)
