"""What must hold on every rank, in one start of two processes: ``python checks.py``."""

import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from program import BATCH_SIZE, TinyNet, make_batch  # noqa: E402

from videokd.distill.objective import DistillObjective, DistillOptions  # noqa: E402
from videokd.distill.tasks import ClassificationTask, StudentTask  # noqa: E402
from videokd.engine.distributed import Ranks, join_ranks  # noqa: E402
from videokd.engine.meters import Meters  # noqa: E402
from videokd.engine.stop import Stopped  # noqa: E402
from videokd.engine.sync_norm import SyncedBatchNorm, sync_batch_norms  # noqa: E402
from videokd.engine.update import Learner, Update  # noqa: E402
from videokd.fusion.standardise import PhiStandardiser, RunningStandardiser  # noqa: E402
from videokd.utils.errors import RunError  # noqa: E402


def check_buckets(ranks: Ranks) -> None:
    """Teachers are not sent: the buckets are as large as what is trained."""
    torch.manual_seed(0)
    objective = DistillObjective(DistillOptions())
    task = StudentTask(TinyNet(), TinyNet(), dataset="a", objective=objective)
    wrapped = ranks.wrap(task)
    buckets = wrapped.reducer._get_zeros_like_grad_buckets()
    num_bytes = sum(bucket.buffer().nbytes for bucket in buckets)
    assert num_bytes == sum(p.nbytes for p in task.parameters()) > 0


def check_shares(ranks: Ranks) -> None:
    """Counts, bad videos and weights are those of the whole step."""
    batch = make_batch("tiny", 1, ranks.rank, ranks.num_ranks)
    part = ranks.share_step(batch)
    assert [video.record_id for video in part.bad] == [0, 1]
    whole = make_batch("tiny", 1, 0, 1).dataset_ids
    assert part.batch.whole_ids.tolist() == whole.tolist()
    assert part.batch.share == len(batch) / (BATCH_SIZE - 2) == (2 / 6, 4 / 6)[ranks.rank]
    assert part.is_usable
    short = make_batch("tiny", 1, ranks.rank * 4, 8)  # no clip on rank 0, one on rank 1
    assert not ranks.share_step(short).is_usable


def check_standardisers(ranks: Ranks, mine: torch.Tensor, whole: torch.Tensor) -> None:
    """Statistics are those of all ranks' clips, for parts of unequal size."""
    for kind in (RunningStandardiser, PhiStandardiser):
        shared, alone = kind(5), kind(5)
        shared(mine)
        with _pretend_alone():
            alone(whole)
        for name, value in shared.state_dict().items():
            torch.testing.assert_close(value, alone.state_dict()[name], rtol=1e-5, atol=1e-5)


def check_synced_norm(ranks: Ranks, mine: torch.Tensor, whole: torch.Tensor) -> None:
    """Output, gradients and statistics of a synced norm are those of the whole batch."""
    torch.manual_seed(3)
    norm = nn.Sequential(nn.BatchNorm1d(5)).double()
    nn.init.normal_(norm[0].weight)
    synced = nn.Sequential(nn.BatchNorm1d(5)).double()
    synced.load_state_dict(norm.state_dict())
    sync_batch_norms(synced)
    assert isinstance(synced[0], SyncedBatchNorm)
    x, part = whole.double().requires_grad_(), mine.double().requires_grad_()
    expected = norm(x)
    (expected**3).sum().backward()
    got = synced(part)
    (got**3).sum().backward()
    rows = slice(0, 3) if ranks.is_first else slice(3, None)
    torch.testing.assert_close(got, expected[rows])
    torch.testing.assert_close(part.grad, x.grad[rows])
    for name, value in synced.state_dict().items():
        torch.testing.assert_close(value, norm.state_dict()[name])
    torch.testing.assert_close(synced.eval()(x), norm.eval()(x))


def check_averaged_statistics(ranks: Ranks) -> None:
    """Plain norms keep the mean of the ranks' statistics, frozen ones stay as they are."""
    task = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval())
    for norm in task:
        norm.running_mean.fill_(float(ranks.rank))
    ranks.average_statistics(task)
    assert task[0].running_mean.tolist() == [0.5, 0.5]
    assert task[1].running_mean.tolist() == [ranks.rank] * 2


def check_the_guilty_rank_is_named(ranks: Ranks) -> None:
    """The clips in the message are those of the rank where it began, also with batch norms."""
    torch.manual_seed(2)
    net = TinyNet()
    net.net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 5))
    task = ClassificationTask(net, {"a": 1.0, "b": 0.5})
    if not ranks.is_first:
        net.net[0].register_forward_hook(lambda _, __, out: out * torch.nan)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    learner = Learner(task, torch.optim.SGD(task.parameters(), lr=0.1), ranks=ranks)
    update = Update(learner, Meters(torch.device("cpu"), ranks=ranks), clip_grad_norm=0.0)
    part = ranks.share_step(make_batch("tiny", 0, ranks.rank, ranks.num_ranks))
    with pytest.raises(RunError, match=r"loss is nan at step 0.* record ids \[4, 5, 6, 7\]"):
        update(part.batch, 0.0, step=0, lr=0.1)
    for name, value in task.state_dict().items():
        assert torch.equal(value, before[name]), name


def check_decisions(ranks: Ranks) -> None:
    """One rank's word is everybody's."""
    assert ranks.any(ranks.rank == 1, False) == (True, False)
    assert ranks.broadcast(f"rank {ranks.rank}") == "rank 0"
    assert ranks.gather(ranks.rank) == [0, 1]
    assert ranks.lowest(5 - ranks.rank) == 4
    assert not ranks.agree(torch.tensor(ranks.is_first))
    assert ranks.agree(torch.tensor(True))
    order = []
    with ranks.first_alone():
        order.append(ranks.rank)
    try:
        with ranks.first_alone():
            raise Stopped
    except Stopped:
        order.append(2)
    assert order == [ranks.rank, 2]


@contextmanager
def _pretend_alone():
    room = "videokd.fusion.standardise"
    with patch(f"{room}.num_ranks", lambda: 1), patch(f"{room}.sum_over_ranks", torch.clone):
        yield


def main() -> None:
    whole = torch.randn(8, 5, generator=torch.Generator().manual_seed(7)) * 3 + 1
    with join_ranks(torch.device("cpu"), timeout_sec=60) as ranks:
        mine = whole[:3] if ranks.is_first else whole[3:]
        check_buckets(ranks)
        check_shares(ranks)
        check_standardisers(ranks, mine, whole)
        check_synced_norm(ranks, mine, whole)
        check_averaged_statistics(ranks)
        check_the_guilty_rank_is_named(ranks)
        check_decisions(ranks)
    sys.stderr.write("all hold\n")


if __name__ == "__main__":
    main()
