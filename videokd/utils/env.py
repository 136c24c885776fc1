"""Environment of the process: cores, threads, device, memory, versions, commit, command."""

import os
import platform
import re
import resource
import shlex
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from videokd.utils.errors import InputError

_REPORTED_PACKAGES = ("torch", "torchvision", "pytorchvideo", "av", "decord", "fvcore", "numpy")


def num_available_cores() -> int:
    """Return how many cores this process may use (its affinity mask, not the machine's count)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def plan_threads(num_workers: int, num_threads: int, *, num_processes: int = 1) -> tuple[int, int]:
    """Share the cores between loader workers and the trainer.

    Each worker runs one thread; workers and trainer threads together never exceed the cores, but
    for a worker beside a single thread: OpenMP barriers spin, and one thread too many makes a step
    several times slower.

    Args:
        num_workers: Wanted loader workers; -1 picks a quarter of the cores, at least one, or
            fewer where the trainer's threads leave fewer. Without a worker, a video that hangs
            or ends its process stops the run. The one of a single core shares it.
        num_threads: Wanted trainer threads; 0 picks all cores that the workers leave.
        num_processes: Trainers on this machine; each has its share of the cores.

    Returns:
        (num_workers, num_threads), both to be used as they are.

    Raises:
        InputError: The two add up to more than the cores.
    """
    cores = max(1, num_available_cores() // num_processes)
    if num_workers < 0:
        cores = max(2, cores)
        num_workers = min(max(1, cores // 4), max(0, cores - num_threads))
    if num_threads <= 0:
        num_threads = max(1, cores - num_workers)
    if num_workers + num_threads > cores:
        raise InputError(
            f"DATA_LOADER.NUM_WORKERS {num_workers} + NUM_THREADS {num_threads} exceed the "
            f"{cores} cores of this process; set one of them lower (-1 and 0 choose for you)"
        )
    return num_workers, num_threads


def pick_device(name: str, *, local_rank: int | None = None) -> torch.device:
    """Return the device called ``name``: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1".

    Args:
        name: The name.
        local_rank: Of one of several trainers on a machine: each has the GPU of its number.

    Raises:
        InputError: Another name, or a CUDA device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise InputError(f"DEVICE must be auto, cpu, cuda or cuda:N; got {name!r}")
    if name.startswith("cuda") and local_rank is not None:
        name = f"cuda:{local_rank}"
    device = torch.device(name)
    num_gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= num_gpus:
        raise InputError(f"DEVICE {name} is not there: torch sees {num_gpus} CUDA GPUs; use auto")
    return device


def allow_tf32(is_allowed: bool) -> None:
    """Allow or forbid GPUs to round the factors of float32 products to TF32 (10 bits for 23).

    The setting holds for convolutions and matrix products in the whole process and changes nothing
    on CPUs.
    """
    # Not by ``fp32_precision``: after that, torch raises where a library reads these flags, as
    # torch.compile does in torch 2.10. Nor by set_float32_matmul_precision, which includes CPUs.
    torch.backends.cuda.matmul.allow_tf32 = is_allowed
    torch.backends.cudnn.allow_tf32 = is_allowed


def device_memory_bytes(device: torch.device) -> int:
    """Return the memory of a GPU, or of this machine for the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def used_memory_bytes(device: torch.device) -> int:
    """Return the most that tensors have had on a GPU, or what this process has on the CPU now.

    Where the system does not tell what a process has, it is the most that it has had.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring ``peak_memory_gib`` anew, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # Linux only
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_gib(device: torch.device) -> dict[str, float]:
    """Return the peak memory of this process since ``reset_peak_memory``, in GiB.

    Returns:
        "host": resident memory of this process, without its loader workers; on systems other than
        Linux since the process began. On CUDA also "gpu": memory of the tensors on ``device``.
    """
    peak = {"host": _peak_host_bytes() / 2**30}
    if device.type == "cuda":
        peak["gpu"] = torch.cuda.max_memory_allocated(device) / 2**30
    return {name: round(value, 3) for name, value in peak.items()}


def _peak_host_bytes() -> int:
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024
    # macOS counts in bytes, others in KiB.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def command_line() -> str:
    """Return the command that started this process, as a shell would take it."""
    return shlex.join(["python", *sys.argv])


def collect_environment(device: torch.device) -> dict[str, Any]:
    """Return versions, machine and commit as plain JSON values.

    Args:
        device: The one that is trained on.
    """
    versions = {}
    for package in _REPORTED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "missing"
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "host": platform.node(),
        "cores": num_available_cores(),
        "allow_tf32": {
            "matmul": torch.backends.cuda.matmul.allow_tf32,
            "conv": torch.backends.cudnn.allow_tf32,
        },
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        "versions": versions,
        **find_commit(Path(__file__).resolve().parents[2]),
    }


@cache  # the code of this process is that of its start
def find_commit(folder: Path) -> dict[str, Any]:
    """Return the commit of a checkout of videokd, and whether its tracked files were changed.

    Args:
        folder: Parent of the package.

    Returns:
        "commit", "none" where ``folder`` is not the root of videokd's own checkout (installed
        packages may lie inside somebody else's), and "has_local_changes".
    """
    nothing = {"commit": "none", "has_local_changes": False}
    try:
        root, commit = _git(folder, "rev-parse", "--show-toplevel", "HEAD").splitlines()
        setup = (folder / "setup.cfg").read_text(encoding="utf-8")
        is_own = Path(root).resolve() == folder.resolve() and "\nname = videokd\n" in setup
        if not is_own:
            return nothing
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, ValueError, subprocess.SubprocessError):
        return nothing
    return {"commit": commit, "has_local_changes": bool(changes)}


def _git(folder: Path, *words: str) -> str:
    result = subprocess.run(
        ["git", "--no-optional-locks", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=5,
        check=True,
    )
    return result.stdout
