"""Message channel between a pool and its workers, for messages of any size.

A message is a pickle followed by the bytes of its tensors, in an unnamed file. The socket carries
only the file descriptor and one byte. So no sender waits for its reader, no reader waits for the
rest of a message whose sender was killed, and the memory of a message is freed with the last
process that holds it. /dev/shm is not used, since it is small in containers.
"""

import errno
import io
import os
import pickle
import socket
import tempfile
from multiprocessing.connection import wait
from typing import Any

import torch
from torch import Tensor

_NUM_BYTES_OF_LENGTH = 8


class Channel:
    """One end of a pair of connected sockets, ``socket.socketpair()``.

    Args:
        end: The socket; closed with the channel.
        pin_memory: Whether to put the tensors of received messages into page-locked memory, for
            CUDA.
    """

    def __init__(self, end: socket.socket, *, pin_memory: bool = False) -> None:
        self._socket = end
        self._pin_memory = pin_memory

    def send(self, message: Any) -> None:
        """Send any picklable object.

        Raises:
            OSError: the other end is closed, or there is no memory for the message.
        """
        file = pack(message)
        try:
            self.send_packed(file)
        finally:
            os.close(file)

    def send_packed(self, file: int) -> None:
        """Send a file from ``pack``, which stays open and can be sent again.

        Raises:
            OSError: the other end is closed.
        """
        socket.send_fds(self._socket, [b"\0"], [file])

    def receive(self) -> Any:
        """Wait for a message and return it.

        Raises:
            EOFError: the other end is closed, or its process died, and no message is left.
        """
        try:
            data, files, _, _ = socket.recv_fds(self._socket, 1, 1)
        except ConnectionResetError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        if not files:
            raise OSError(errno.EMFILE, "too many open files to receive a message; see ulimit -n")
        try:
            return unpack(files[0], pin_memory=self._pin_memory)
        finally:
            os.close(files[0])

    def has_message(self) -> bool:
        """Return whether ``receive`` would return, or raise, at once."""
        return bool(wait([self._socket], 0))

    def fileno(self) -> int:
        """Return the socket's descriptor, for ``multiprocessing.connection.wait``."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def pack(message: Any) -> int:
    """Write a message into a new unnamed file; return its descriptor, which the caller closes."""
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(message)
    file = open_nameless_file()
    try:
        _write(file, memoryview(len(stream.getbuffer()).to_bytes(_NUM_BYTES_OF_LENGTH, "little")))
        _write(file, stream.getbuffer())
        for tensor in pickler.tensors:
            _write(file, _as_bytes(tensor.contiguous()))
    except BaseException:
        os.close(file)
        raise
    return file


def unpack(file: int, *, pin_memory: bool = False) -> Any:
    """Return the message that ``pack`` wrote; it shares no memory with the file.

    Args:
        file: Descriptor of the file; not closed and its offset not moved, so that several processes
            can read it.
        pin_memory: Whether to put its tensors into page-locked memory.
    """
    length = bytearray(_NUM_BYTES_OF_LENGTH)
    _read(file, memoryview(length), 0)
    text = bytearray(int.from_bytes(length, "little"))
    _read(file, memoryview(text), _NUM_BYTES_OF_LENGTH)
    first = _NUM_BYTES_OF_LENGTH + len(text)
    return _Unpickler(io.BytesIO(text), file, first, pin_memory).load()


def open_nameless_file() -> int:
    """Return the descriptor of an empty file that is deleted with its last descriptor.

    The file is in memory if the system supports that (Linux), else in the folder for temporary
    files.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create("videokd")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class _Pickler(pickle.Pickler):
    """Pickler that sets tensors aside, since torch would copy their bytes several times."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=5)
        self.tensors: list[Tensor] = []
        self._num_bytes = 0

    def persistent_id(self, obj: Any) -> tuple[int, torch.dtype, tuple[int, ...]] | None:
        is_plain = type(obj) is Tensor and obj.layout == torch.strided and not obj.requires_grad
        if not is_plain or obj.device.type != "cpu" or obj.is_quantized or obj.is_complex():
            return None
        offset = self._num_bytes
        self.tensors.append(obj)
        self._num_bytes += obj.numel() * obj.element_size()
        return offset, obj.dtype, tuple(obj.shape)


class _Unpickler(pickle.Unpickler):
    """Unpickler that reads each tensor into its own memory: keeping one does not keep the rest."""

    def __init__(self, stream: io.BytesIO, file: int, first: int, pin_memory: bool) -> None:
        super().__init__(stream)
        self._file = file
        self._first = first
        self._pin_memory = pin_memory

    def persistent_load(self, pid: tuple[int, torch.dtype, tuple[int, ...]]) -> Tensor:
        offset, dtype, shape = pid
        tensor = torch.empty(shape, dtype=dtype, pin_memory=self._pin_memory)
        _read(self._file, _as_bytes(tensor), self._first + offset)
        return tensor


def _as_bytes(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _write(file: int, data: memoryview) -> None:
    # One system call writes or reads at most 2 GiB.
    while data.nbytes:
        data = data[os.write(file, data) :]


def _read(file: int, target: memoryview, offset: int) -> None:
    while target.nbytes:
        num_bytes = os.preadv(file, [target], offset)
        if not num_bytes:
            raise EOFError(f"a message ends at byte {offset}, {target.nbytes} bytes early")
        target, offset = target[num_bytes:], offset + num_bytes
