"""The batches of a DataLoader, with no wait without a bound and no worker left behind."""

import traceback
from collections.abc import Generator
from multiprocessing import active_children
from typing import Any

from torch.utils.data import DataLoader

from videokd.utils.errors import RunError


def iterate_batches(loader: "DataLoader[Any]") -> Generator[Any, None, None]:
    """Yield the batches of ``loader``; where this generator ends or is closed, its workers end.

    Workers may ignore SIGTERM, which is how DataLoader ends one that hangs: here they are killed
    when they have not ended by themselves.

    Args:
        loader: With a ``timeout``, when it has workers: a worker silent for longer has hung.

    Raises:
        RunError: A worker hung or died.
    """
    others = set(active_children())
    iterator = iter(loader)
    workers = set(active_children()) - others
    try:
        yield from iterator
    except BaseException as error:
        # The frames that failed hold the iterator, which ends its workers when it goes.
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, RuntimeError) and str(error).startswith("DataLoader"):
            cause = str(error).splitlines()[0]
            raise RunError(
                f"{cause}; a video that a decoder hangs on, or too little memory: see "
                "DATA_LOADER.TIMEOUT_SEC, or find it with DATA_LOADER.NUM_WORKERS 0"
            ) from error
        raise
    finally:
        del iterator
        for worker in workers:
            worker.kill()
            worker.join()
