"""Encoding settings of a video: codec, container, size, rate and key frames."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from videokd.utils.errors import InputError


@dataclass(frozen=True, slots=True)
class _Codec:
    encoder: str
    extensions: tuple[str, ...]
    """Containers that can hold the codec, the default first."""
    options: dict[str, str]


_CODECS = {
    "h264": _Codec("libx264", (".mp4", ".avi", ".m4v", ".mkv", ".mov"), {"preset": "fast"}),
    "vp9": _Codec("libvpx-vp9", (".webm", ".mkv", ".mp4"), {"cpu-used": "4", "b": "0"}),
}
CODECS = tuple(_CODECS)
# Extension -> FFmpeg's format name. Named explicitly, since FFmpeg takes .m4v for a raw stream.
CONTAINERS = {
    ".avi": "avi",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".webm": "webm",
}


@dataclass(frozen=True, slots=True)
class EncodeSpec:
    """Encoding settings of a video.

    Args:
        codec: One of CODECS.
        extension: Extension and thus container of the file, e.g. ".mp4"; "" keeps the video's own
            if it can hold the codec.
        short_side: Short side to scale frames down to, even, pixels; 0, or a value above the
            video's short side, keeps their size. Odd heights and widths lose a line.
        fps: Frames per second. Each new frame is the old frame that a player shows at its time. 0.0
            keeps frames and times unchanged.
        crf: Constant rate factor of the encoder, 0 (best) .. 51 (h264) or 63 (vp9).
        gop_frames: Maximum distance of key frames; reading a random frame decodes half of that on
            average.

    Raises:
        InputError: a value is out of range, or the container cannot hold the codec.
    """

    codec: str = "h264"
    extension: str = ""
    short_side: int = 0
    fps: float = 0.0
    crf: int = 20
    gop_frames: int = 12

    def __post_init__(self) -> None:
        if self.codec not in _CODECS:
            raise InputError(f"codec must be one of {', '.join(_CODECS)}, got {self.codec!r}")
        allowed = _CODECS[self.codec].extensions
        if self.extension and self.extension not in allowed:
            raise InputError(
                f"{self.extension} cannot hold {self.codec}; choose one of {', '.join(allowed)}"
            )
        max_crf = 51 if self.codec == "h264" else 63
        if not 0 <= self.crf <= max_crf:
            raise InputError(f"crf of {self.codec} must be 0 .. {max_crf}, got {self.crf}")
        if self.short_side < 0 or self.short_side % 2:
            raise InputError(f"short side must be an even number >= 0, got {self.short_side}")
        if self.fps < 0 or self.gop_frames < 1:
            raise InputError(
                f"frames per second must be >= 0 and key frames at least 1 frame apart, got "
                f"{self.fps:g} and {self.gop_frames}"
            )

    @property
    def encoder(self) -> str:
        """FFmpeg's name of the encoder."""
        return _CODECS[self.codec].encoder

    @property
    def encoder_options(self) -> dict[str, str]:
        """Options of the encoder apart from size and times."""
        return {**_CODECS[self.codec].options, "crf": str(self.crf)}

    def target_path(self, path: str) -> str:
        """Return the path of the new file for a video's path, with forward slashes."""
        own = PurePosixPath(path).suffix
        extensions = _CODECS[self.codec].extensions
        wanted = self.extension or (own.lower() if own.lower() in extensions else extensions[0])
        return path if own.lower() == wanted else path[: len(path) - len(own)] + wanted
