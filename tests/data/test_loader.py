import os
import signal
import time
from multiprocessing import active_children

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from videokd.data.loader import iterate_batches
from videokd.utils.errors import RunError


class Numbers(Dataset):
    """Item 5 does what it is told."""

    def __init__(self, fifth=lambda: None):
        self.fifth = fifth

    def __len__(self):
        return 8

    def __getitem__(self, number):
        if number == 5:
            self.fifth()
        return number


def _ignore_sigterm(worker_id):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _loader(num_workers, fifth=lambda: None, timeout=0.0):
    return DataLoader(
        Numbers(fifth),
        batch_size=2,
        num_workers=num_workers,
        timeout=timeout,
        worker_init_fn=_ignore_sigterm if num_workers else None,
    )


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    # How long DataLoader waits for a worker that is asked to end.
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.3)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_all_batches_come_in_order_and_no_worker_is_left(num_workers):
    batches = [batch.tolist() for batch in iterate_batches(_loader(num_workers))]
    assert batches == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert active_children() == []


def test_closing_ends_the_workers():
    batches = iterate_batches(_loader(2))
    next(batches)
    assert len(active_children()) == 2
    batches.close()
    assert active_children() == []


def test_a_worker_that_hangs_fails_the_run_and_is_killed():
    batches = iterate_batches(_loader(1, lambda: time.sleep(1000), timeout=0.5))
    with pytest.raises(RunError, match=r"DataLoader timed out after 0\.5 seconds; .*TIMEOUT_SEC"):
        list(batches)
    assert active_children() == []


def test_a_worker_that_dies_fails_the_run():
    batches = iterate_batches(_loader(2, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    with pytest.raises(RunError, match=r"DataLoader worker \(pid.* (killed by signal|exited)"):
        list(batches)
    assert active_children() == []


def test_an_error_of_the_dataset_stays_what_it_is():
    def fail():
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect") as caught:
        list(iterate_batches(_loader(0, fail)))
    assert type(caught.value) is RuntimeError
