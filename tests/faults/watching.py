"""Who opens files, C libraries included: what inotify, a part of Linux, reports of a folder."""

import ctypes
import os
import struct
from pathlib import Path

_IN_ACCESS, _IN_OPEN = 0x1, 0x20
_EVENT = struct.Struct("iIII")


class Watch:
    """Notes the files below a folder that any process opens or reads from now on."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._handle < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._folders: dict[int, str] = {}
        for path, _, _ in os.walk(folder):
            number = libc.inotify_add_watch(self._handle, os.fsencode(path), _IN_ACCESS | _IN_OPEN)
            self._folders[number] = path

    def seen(self) -> list[str]:
        """Return the paths of the files and folders opened since the last call."""
        paths = []
        while True:
            try:
                data = os.read(self._handle, 65536)
            except BlockingIOError:
                return sorted(set(paths))
            while data:
                number, _, _, length = _EVENT.unpack_from(data)
                name = os.fsdecode(data[_EVENT.size : _EVENT.size + length].rstrip(b"\0"))
                paths.append(os.path.join(self._folders[number], name))
                data = data[_EVENT.size + length :]

    def close(self) -> None:
        os.close(self._handle)
