"""Properties of the process and machine: cores, device, memory, versions, commit, command."""

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
    """Return the number of cores that this process may use (its affinity mask if available)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def plan_threads(num_workers: int, num_threads: int, *, num_processes: int = 1) -> tuple[int, int]:
    """Return the numbers of loader workers and trainer threads.

    Each worker runs one thread. Workers and threads together do not exceed the cores, because
    OpenMP barriers spin and one thread too many makes a step several times slower. The only
    exception is the default on a single core, where one worker and one thread share the core.

    Args:
        num_workers: Requested loader workers; -1 picks a quarter of the cores, at least one, but
            no more than the trainer's threads leave free. Without a worker, a video that hangs or
            crashes its process stops the run.
        num_threads: Requested trainer threads; 0 picks all cores that the workers do not use.
        num_processes: Trainers on this machine; each gets an equal share of the cores.

    Returns:
        (num_workers, num_threads) to use.

    Raises:
        InputError: The sum exceeds the cores.
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
    """Return a device by name.

    Args:
        name: "auto" (CUDA if available, else CPU), "cpu", "cuda" or "cuda:N".
        local_rank: Rank among several trainers on this machine; selects the GPU of that number.

    Raises:
        InputError: The name is invalid, or the CUDA device does not exist.
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
    """Set whether GPUs may round the factors of float32 products to TF32 (10 instead of 23 bits).

    The setting holds for convolutions and matrix products in the whole process and has no effect on
    CPUs.
    """
    # After setting ``fp32_precision``, torch raises when a library reads these flags, as
    # torch.compile does in torch 2.10. set_float32_matmul_precision would also affect CPUs.
    torch.backends.cuda.matmul.allow_tf32 = is_allowed
    torch.backends.cudnn.allow_tf32 = is_allowed


def device_memory_bytes(device: torch.device) -> int:
    """Return the total memory of a GPU, or of this machine for the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def used_memory_bytes(device: torch.device) -> int:
    """Return the peak memory of tensors on a GPU, or the current memory of this process on a CPU.

    On systems without /proc, the CPU value is the peak of this process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peaks of ``peak_memory_gib``; the peak of host memory only on Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # Linux only
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_gib(device: torch.device) -> dict[str, float]:
    """Return the peak memory of this process since ``reset_peak_memory``, in GiB.

    Returns:
        "host": resident memory of this process without its loader workers; since the start of the
        process on systems other than Linux. On CUDA also "gpu": memory of tensors on ``device``.
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
    # ru_maxrss is in bytes on macOS and in KiB elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def command_line() -> str:
    """Return the command that started this process, quoted for a shell."""
    program, *arguments = sys.argv
    # The console script sets "videokd train"; a script in tools/ needs an interpreter.
    words = ["python", program] if program.endswith(".py") else program.split()
    return shlex.join([*words, *arguments])


def collect_environment(device: torch.device) -> dict[str, Any]:
    """Return versions, machine and commit as plain JSON values.

    Args:
        device: Training device.
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


@cache  # the code of a process does not change after its start
def find_commit(folder: Path) -> dict[str, Any]:
    """Return the commit of a checkout of videokd, and whether its tracked files have changes.

    Args:
        folder: Parent folder of the package.

    Returns:
        "commit" and "has_local_changes". The commit is "none" unless ``folder`` is the root of a
        videokd checkout; installed packages may lie inside another repository.
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
