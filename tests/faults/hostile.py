"""Paths and files that try to make a decoder open something other than a video under the root.

`Place.outside` holds what must never be opened. A case plants what it needs under `Place.folder`
(a class folder of the root) and returns the path that a list would give, relative to that folder.
"""

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    folder: Path
    outside: Path
    video: bytes
    """Content of an AVI file."""
    mp4: bytes
    """Content of an MP4 file that is not in fragments, its index at the end."""
    port: int
    """Where somebody listens."""

    def put(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return name

    def link(self, name: str, target: str | Path) -> str:
        (self.folder / name).symlink_to(target)
        return name

    @property
    def canary(self) -> str:
        return str(self.outside / "canary.avi")

    @property
    def relative_canary(self) -> str:
        return os.path.relpath(self.canary, self.folder)


Plant = Callable[[Place], str]


@dataclass(frozen=True)
class Planted:
    name: str
    path: str
    """Relative to the root."""
    dataset: str
    """The folder of classes that holds it, relative to the root."""


# Words that a library could read as more than the name of a file.
WORDS: dict[str, Plant] = {
    "parent": lambda p: "../outside/canary.avi",
    "parent after a folder": lambda p: "./x/../../outside/canary.avi",
    "thousand parents": lambda p: "../" * 1000 + p.canary[1:],
    "absolute": lambda p: p.canary,
    "two slashes": lambda p: f"//{p.canary}",
    "prefix of the root's name": lambda p: "../root-b/canary.avi",
    "file url": lambda p: f"file://{p.canary}",
    "file protocol": lambda p: f"file:{p.canary}",
    "http": lambda p: f"http://127.0.0.1:{p.port}/a.mp4",
    "https": lambda p: f"https://127.0.0.1:{p.port}/a.mp4",
    "tcp": lambda p: f"tcp://127.0.0.1:{p.port}",
    "rtsp": lambda p: f"rtsp://127.0.0.1:{p.port}/a",
    "ftp": lambda p: f"ftp://127.0.0.1:{p.port}/a.mp4",
    "hls protocol": lambda p: f"hls+http://127.0.0.1:{p.port}/a.m3u8",
    "concat": lambda p: f"concat:{p.canary}|{p.canary}",
    "subfile": lambda p: f"subfile,,start,0,end,0,,:{p.canary}",
    "async": lambda p: f"async:file:{p.canary}",
    "cache": lambda p: f"cache:{p.canary}",
    "crypto": lambda p: f"crypto:{p.canary}",
    "unix socket": lambda p: f"unix:{p.outside}/socket",
    "data": lambda p: "data:video/mp4;base64,AAAAGGZ0eXA=",
    "pipe": lambda p: "pipe:0",
    "descriptor": lambda p: "fd:0",
    "standard input": lambda p: "-",
    "command": lambda p: f"|cat {p.canary}",
    "home": lambda p: "~/canary.avi",
    "variable": lambda p: "$HOME/canary.avi",
    "percent code": lambda p: "%2e%2e/outside/canary.avi",
    "backslashes": lambda p: "..\\outside\\canary.avi",
    "full width dots": lambda p: "\uff0e\uff0e/outside/canary.avi",
    "two dot leader": lambda p: "\u2025/outside/canary.avi",
    "NUL": lambda p: "good.avi\0/../../outside/canary.avi",
    "half a character": lambda p: "\ud800/../canary.avi",
    "long name": lambda p: "a" * 300 + ".avi",
    "long path": lambda p: "a/" * 3000 + "b.avi",
    "nothing": lambda p: "",
    "device": lambda p: "/dev/zero",
    "own input": lambda p: "/dev/stdin",
    "root of the process": lambda p: f"/proc/self/root{p.canary}",
}


def _hidden_link(p: Place) -> str:
    p.link("step.avi", p.relative_canary)
    return p.link("a.avi", "step.avi")


def _linked_folder(p: Place) -> str:
    p.link("linked", p.outside)
    return "linked/canary.avi"


def _linked_class(p: Place) -> str:
    (p.folder.parent / "linked").symlink_to(p.outside)
    return "../linked/canary.avi"


def _linked_part(p: Place) -> str:
    (p.folder.parent.parent / "test").symlink_to(p.outside)
    return "../../test/canary.avi"


def _fifo(p: Place) -> str:
    os.mkfifo(p.folder / "a.avi")
    return "a.avi"


def _socket(p: Place) -> str:
    # The path of a socket may have 107 bytes only.
    short = Path(f"/tmp/videokd-{os.getpid()}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(short))
    short.rename(p.folder / "a.avi")
    return "a.avi"


def _folder(p: Place) -> str:
    (p.folder / "a.avi").mkdir()
    return "a.avi"


def _number_pattern(p: Place) -> str:
    p.link("frame000.png", p.canary)
    return p.put("frame%03d.png", p.mp4)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _playlist(p: Place) -> bytes:
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXT-X-MEDIA-SEQUENCE:0\n"
    return f"{head}#EXTINF:10.0,\nfile://{p.outside}/canary.ts\n#EXT-X-ENDLIST\n".encode()


def _dash(p: Place) -> bytes:
    mpeg = "urn:mpeg:dash"
    profile = f"xmlns='{mpeg}:schema:mpd:2011' profiles='{mpeg}:profile:isoff-on-demand:2011'"
    inner = f"<Representation id='0' bandwidth='1'><BaseURL>file://{p.canary}</BaseURL>"
    return (
        f"<?xml version='1.0'?><MPD {profile} type='static'><Period><AdaptationSet "
        f"mimeType='video/mp4'>{inner}</Representation></AdaptationSet></Period></MPD>"
    ).encode()


def _external_reference(p: Place) -> str:
    """Write an MP4 file whose samples are said to lie in another file."""
    target = p.canary.encode()
    volume = b"\0\0" + struct.pack(">H", 0) + bytes(6) + b"\0" * 28 + bytes(12)
    name = b"\0\x02" + struct.pack(">H", len(target)) + target + b"\0" * (len(target) % 2)
    entry = _box(b"alis", b"\0\0\0\0" + volume + bytes(150 - len(volume)) + name + b"\xff\xff\0\0")
    own = b"\0\0\0\x0curl \0\0\0\x01"
    place = p.mp4.index(own)
    data = bytearray(p.mp4)
    data[place : place + len(own)] = entry
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = data.index(kind) - 4
        (size,) = struct.unpack_from(">I", data, at)
        struct.pack_into(">I", data, at, size + len(entry) - len(own))
    return p.put("a.mov", bytes(data))


# Things under the root that are not a video, or not under the root.
THINGS: dict[str, Plant] = {
    "link out": lambda p: p.link("a.avi", p.canary),
    "relative link out": lambda p: p.link("a.avi", p.relative_canary),
    "link to a link out": _hidden_link,
    "linked folder": _linked_folder,
    "linked class": _linked_class,
    "linked part": _linked_part,
    "link to nothing": lambda p: p.link("a.avi", p.outside / "missing.avi"),
    "link to itself": lambda p: p.link("a.avi", "a.avi"),
    "link to a device": lambda p: p.link("a.avi", "/dev/zero"),
    "link to /proc": lambda p: p.link("a.avi", "/proc/self/environ"),
    "fifo": _fifo,
    "socket": _socket,
    "folder": _folder,
    "playlist": lambda p: p.put("a.mp4", _playlist(p)),
    "playlist behind a blank line": lambda p: p.put("a.mp4", b"\n" + _playlist(p)),
    "playlist in a box": lambda p: p.put("a.mp4", _box(b"ftyp", b"isom") + _playlist(p)),
    "playlist in a list": lambda p: p.put("a.avi", b"RIFF\n\n\n\nAVI \n" + _playlist(p)),
    "ffconcat": lambda p: p.put("a.mp4", f"ffconcat version 1.0\nfile '{p.canary}'\n".encode()),
    "session description": lambda p: p.put(
        "a.mp4", f"v=0\nc=IN IP4 127.0.0.1\nm=video {p.port} RTP/AVP 96\n".encode()
    ),
    "session description as flv": lambda p: p.put(
        "a.flv", f"FLV\x01\nc=IN IP4 127.0.0.1\nm=video {p.port} RTP/AVP 96\n".encode()
    ),
    "samples in another file": _external_reference,
    "dash": lambda p: p.put("a.mp4", _dash(p)),
    "script": lambda p: p.put("a.avi", f"#!/bin/sh\ncat {p.canary}\n".encode()),
}

# Regular files under the root, though they do not look like it: these may be read, and only these.
VIDEOS: dict[str, Plant] = {
    "number pattern": _number_pattern,
    "name of a protocol": lambda p: p.put("concat:a.avi|b.avi", p.video),
    "name of an option": lambda p: p.put("-i.avi", p.video),
    "new line": lambda p: p.put("a\nb\r\x1b[2J.avi", p.video),
    "not UTF-8": lambda p: p.put(os.fsdecode(b"\xff\xfe.avi"), p.video),
    "right to left": lambda p: p.put("\u202eiva.4pm.avi", p.video),
    "longest name": lambda p: p.put("a" * 251 + ".avi", p.video),
}
