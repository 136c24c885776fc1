"""Trainings in several processes that meet as those of torchrun do, without its seconds."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_LONGEST_SEC = 240

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Ended:
    """How the ranks of a training ended."""

    codes: list[int | None]
    """Exit code of each; None for one that had to be killed at last."""
    texts: list[str]
    """What each said on stderr."""
    seconds: float


def rank_environment(rank: int, num_ranks: int, port: int) -> dict[str, str]:
    ranks = {"RANK": rank, "WORLD_SIZE": num_ranks, "LOCAL_RANK": rank}
    meeting = {"LOCAL_WORLD_SIZE": num_ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {key: str(value) for key, value in {**ranks, **meeting}.items()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def run_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Ended]]:
    """``run_ranks(num_ranks, *words, timeout_sec=60, grace_sec=60)``: run the program's ranks.

    A rank that is still there ``grace_sec`` after the first one ended is killed, as torchrun does.
    """
    started: list[subprocess.Popen[bytes]] = []

    def run(
        num_ranks: int,
        *words: object,
        timeout_sec: float = 60,
        grace_sec: float = 60,
        program: str = "program.py",
    ) -> Ended:
        port, start = free_port(), time.monotonic()
        root = str(Path(__file__).parents[2])
        base = {**os.environ, "OMP_NUM_THREADS": "1", "TIMEOUT_SEC": str(timeout_sec)}
        base["PYTHONPATH"] = root
        folder = tmp_path_factory.mktemp("stderr")
        files = [folder / f"stderr-{port}-{rank}" for rank in range(num_ranks)]
        mine = []
        for rank, path in enumerate(files):
            variables = rank_environment(rank, num_ranks, port) if num_ranks > 1 else {}
            with path.open("wb") as file:
                command = [sys.executable, str(FOLDER / program), *map(str, words)]
                mine.append(subprocess.Popen(command, env={**base, **variables}, stderr=file))
        started.extend(mine)
        ends = start + _LONGEST_SEC
        while time.monotonic() < ends and any(p.poll() is None for p in mine):
            if any(p.poll() is not None for p in mine):
                ends = min(ends, time.monotonic() + grace_sec)
            time.sleep(0.05)
        seconds = time.monotonic() - start
        codes = [p.poll() for p in mine]
        for process in mine:
            process.kill()
            process.wait()
        return Ended(codes, [path.read_text() for path in files], seconds)

    yield run
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def pair(
    run_ranks: Callable[..., Ended], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Ended]:
    """The folder of a tiny training of two ranks that nothing struck, and how it ended."""
    folder = tmp_path_factory.mktemp("pair")
    return folder, run_ranks(2, "tiny", folder)
