"""Errors of a training that cannot write to disk."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from videokd.utils.errors import RunError


@contextmanager
def naming_failures(path: Path) -> Iterator[None]:
    """Turn a failed write into a one-line RunError with the path, the cause and the free space."""
    try:
        yield
    except RunError:
        raise
    except (OSError, SafetensorError, RuntimeError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        first_line = (cause.strip() or type(error).__name__).splitlines()[0]
        raise RunError(
            f"{path} cannot be written: {first_line} ({_describe_room(path)}); mend that and run "
            "the same command again to go on from the last checkpoint"
        ) from error


def _describe_room(path: Path) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    return f"{shutil.disk_usage(folder).free / 2**30:.2f} GiB free there"
