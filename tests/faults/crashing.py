"""Runs tools in forked processes that die, are signalled, or run out of disk, at a named point.

A point is a kind of event with its ordinal in the process: "step", "after step", "evaluation", the
start of an fsync ("sync PATH"), both sides of a rename ("rename PATH", "after rename PATH"), a
deletion ("delete PATH"), and a report to a progress bar ("progress"). Paths are those below the
folder that is watched. Nothing of the package knows of these: the functions of ``os`` that it calls
are replaced.

Started as a program it serves orders, one JSON object a line, so that torch is imported once:

    {"tool": "train_net", "words": [...], "watched": DIR,
     "action": "record" | "kill" | "disk full" | "size limit" | "signal" | "signal all",
     "point": [NAME, ORDINAL], "value": bytes of the size limit, or number of the signal}

and answers each with {"code": exit code, negative for a signal, "points": [NAME, ...],
"errors": what was written to stderr, "seconds": from the signal to the end}. "signal all" is for
the processes that it started too, as Ctrl-C is.
"""

import errno
import fcntl
import importlib.util
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).parents[2] / "tools"
_PIPE_BYTES = 2**20
# Parts of names that differ from run to run.
_TEMPORARY = re.compile(r"^\.(.+)\.(tmp|[a-z0-9_]{8})$")
_HASH = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Order:
    """One run of a tool."""

    tool: str
    words: tuple[str, ...]
    watched: str
    action: str = "record"
    point: tuple[str, int] = ("", 0)
    value: int = 0


class Runner:
    """A process that runs orders one after the other; a context manager."""

    def __enter__(self) -> "Runner":
        command = [sys.executable, __file__]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOOLS.parent)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, order: Order) -> dict[str, Any]:
        """Return the answer to an order."""
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Points:
    """Counts the points that are passed, and acts at one of them."""

    def __init__(self, order: Order, seen: int, clock: int) -> None:
        self._order = order
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._is_full = False
        self._seen = seen
        self._fsync, self._rename, self._replace = os.fsync, os.rename, os.replace
        self._unlink = os.unlink

    def pass_by(self, name: str, *, torn: int | None = None) -> None:
        """Count one point and do there what was ordered.

        Args:
            name: Of the point.
            torn: Handle of a file that is half on disk when the process dies here.
        """
        with self._lock:
            ordinal = self._counts[name]
            self._counts[name] += 1
            os.write(self._seen, f"{name}\n".encode())
            if self._is_full and name.startswith(("sync", "rename")):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if (name, ordinal) != tuple(self._order.point):
                return
            if self._order.action == "kill":
                if torn is not None:
                    os.truncate(f"/proc/self/fd/{torn}", os.fstat(torn).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            elif self._order.action == "disk full":
                self._is_full = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            elif self._order.action == "size limit":
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (self._order.value, hard))
            elif self._order.action.startswith("signal"):
                os.write(self._clock, f"{time.monotonic()}".encode())
                kill = os.killpg if self._order.action == "signal all" else os.kill
                kill(os.getpid(), self._order.value)

    def install(self) -> None:
        """Replace what the package calls."""
        from torch.optim.optimizer import (
            register_optimizer_step_post_hook,
            register_optimizer_step_pre_hook,
        )

        from videokd.pipeline import progress, scoring

        register_optimizer_step_pre_hook(lambda *_: self.pass_by("step"))
        register_optimizer_step_post_hook(lambda *_: self.pass_by("after step"))
        predict = scoring.predict_views

        def predict_views(model: Any, name: str, batches: Any, **options: Any) -> Any:
            return predict(model, name, map(self._evaluated, batches), **options)

        scoring.predict_views = predict_views
        progress._LineBar.update = self._announcing("progress", progress._LineBar.update)
        os.fsync, os.unlink = self._on_fsync, self._on_unlink
        os.rename = self._on_moving(self._rename)
        os.replace = self._on_moving(self._replace)

    def _announcing(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def announced(*arguments: Any, **options: Any) -> Any:
            self.pass_by(name)
            return function(*arguments, **options)

        return announced

    def _evaluated(self, batch: Any) -> Any:
        self.pass_by("evaluation")
        return batch

    def _on_fsync(self, handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        torn = None if path.is_dir() else handle
        self._pass_path("sync", path, torn=torn)
        self._fsync(handle)

    def _on_moving(self, move: Callable[..., None]) -> Callable[..., None]:
        def moved(source: Any, target: Any, **options: Any) -> None:
            self._pass_path("rename", Path(target))
            move(source, target, **options)
            self._pass_path("after rename", Path(target))

        return moved

    def _on_unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        folder = Path() if dir_fd is None else Path(os.readlink(f"/proc/self/fd/{dir_fd}"))
        self._pass_path("delete", folder / path)
        self._unlink(path, dir_fd=dir_fd)

    def _pass_path(self, what: str, path: Path, *, torn: int | None = None) -> None:
        path = path.with_name(_TEMPORARY.sub(r"\1", path.name))
        if path.is_relative_to(self._order.watched):
            known = _HASH.sub("*", str(path.relative_to(self._order.watched)))
            self.pass_by(f"{what} {known}", torn=torn)


class _Pipe:
    """Takes what a child says, also when it may write no file."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self._reading, False)

    def read(self) -> str:
        """Return all that is there: a process that outlives the child may hold the other end."""
        os.close(self.writing)
        try:
            text = os.read(self._reading, _PIPE_BYTES)
        except BlockingIOError:
            text = b""
        os.close(self._reading)
        return text.decode()


def _serve() -> None:
    # Imported once, for all the children.
    import videokd.pipeline.experiment
    import videokd.pipeline.run  # noqa: F401
    from videokd.utils import env

    # The machine may have fewer cores than two workers and a trainer need.
    env.num_available_cores = lambda: 3
    for line in sys.stdin:
        order = Order(**json.loads(line))
        seen, errors, clock = _Pipe(), _Pipe(), _Pipe()
        child = os.fork()
        if child == 0:
            _run(order, seen.writing, errors.writing, clock.writing)
        status = os.waitpid(child, 0)[1]
        end = time.monotonic()
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "points": seen.read().splitlines(),
            "errors": errors.read(),
            "seconds": end - float(clock.read() or end),
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _run(order: Order, seen: int, errors: int, clock: int) -> None:
    os.setsid()  # a signal to all of its processes is for no other
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (null, 1), (errors, 2)):
        os.dup2(source, target)
    from videokd.cli.common import run_tool

    path = TOOLS / f"{order.tool}.py"
    spec = importlib.util.spec_from_file_location(f"{order.tool}_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    Points(order, seen, clock).install()
    sys.argv = [str(path), *order.words]
    code = 1
    try:
        run_tool(module.main)
    except SystemExit as error:
        code = error.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    # What this process took over from its parent is not this one's to clear up.
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
