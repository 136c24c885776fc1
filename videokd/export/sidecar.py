"""``model.json``: the metadata of exported weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from videokd.data.augment import CROP_SHAPES, NUM_CROPS, SQUARE
from videokd.data.clip_spec import ClipSpec
from videokd.data.sampling import DENSE, SEGMENT_CENTRES, SPREAD, TEST_RULES
from videokd.models.zoo import Architecture
from videokd.utils.errors import InputError
from videokd.utils.io import write_json

SIDECAR_NAME = "model.json"
FORMAT_VERSION = 1

_T = TypeVar("_T")


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of a video file into clips, and the number of clips in a test.

    Raises:
        InputError: A number is out of its range, or the clip rule is unknown.
    """

    num_frames: int
    """Number of frames of a clip, > 0."""
    sampling_rate: int
    """Distance between two frames of the clip in source frames, > 0."""
    short_side: int
    """Short side of the frames before cropping, px; 0 keeps the size of the video."""
    crop_size: int
    """Side of the square clip, px, > 0."""
    mean: tuple[float, float, float]
    """RGB, for values in [0, 1]."""
    std: tuple[float, float, float]
    """RGB, > 0."""
    num_clips: int
    """Number of clips along time, > 0."""
    num_crops: int
    """Number of crops per clip: 1 (centre), 3 (along the long side) or 5 (corners and centre)."""
    clip_rule: str = SEGMENT_CENTRES
    """Rule that spreads the clips over the video: one of ``videokd.data.sampling.TEST_RULES``.

    This field and the following ones store conventions that differ between toolkits.
    """
    box_size: int = 0
    """Short side of the crop of the frames that is resized to crop_size, px; 0 = crop_size."""
    sampler: str = DENSE
    """Rule that picks the frames of a clip, see ``videokd.data.sampling.TemporalSampling``."""
    target_fps: float = 0.0
    """If > 0, frames are counted as if the video had this frame rate."""
    channels: str = "rgb"
    """Channel order of the network's input: "rgb" or "bgr"."""
    short_video: str = SPREAD
    """Frames used in place of missing ones after the end of a video."""
    crop_shape: str = SQUARE
    """Shape of that crop: "square", or "frame" for that of the frame."""

    def __post_init__(self) -> None:
        for name in ("num_frames", "sampling_rate", "crop_size", "num_clips"):
            _require_int(name, getattr(self, name), minimum=1)
        for name in ("short_side", "box_size"):
            _require_int(name, getattr(self, name), minimum=0)
        for name in ("mean", "std"):
            _require_rgb(name, getattr(self, name))
        if min(self.std) <= 0:
            raise InputError(f"std must be > 0, got {self.std}")
        if self.channels not in ("rgb", "bgr"):
            raise InputError(f"channels must be rgb or bgr, got {self.channels!r:.60}")
        if self.num_crops not in NUM_CROPS:
            raise InputError(f"num_crops must be 1, 3 or 5, got {self.num_crops!r}")
        if self.crop_shape not in CROP_SHAPES:
            shapes = ", ".join(CROP_SHAPES)
            raise InputError(f"crop_shape must be one of {shapes}, got {self.crop_shape!r}")
        if self.clip_rule not in TEST_RULES:
            rules = ", ".join(TEST_RULES)
            raise InputError(f"clip_rule must be one of {rules}, got {self.clip_rule!r}")
        if not isinstance(self.target_fps, int | float) or isinstance(self.target_fps, bool):
            raise InputError(f"target_fps must be a number, got {self.target_fps!r:.60}")
        # Raises InputError for unknown values.
        _ = self.clip.sampling

    @property
    def clip(self) -> ClipSpec:
        """Shape and sampling of the clips."""
        return ClipSpec(
            num_frames=self.num_frames,
            sampling_rate=self.sampling_rate,
            crop_size=self.crop_size,
            short_side=self.short_side,
            box_size=self.box_size,
            sampler=self.sampler,
            target_fps=self.target_fps,
            short_video=self.short_video,
            crop_shape=self.crop_shape,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Sidecar:
    """Content of ``model.json``."""

    dataset: str
    architecture: Architecture
    labels: tuple[str, ...]
    """Class names, in the order of the logits."""
    preprocessing: Preprocessing
    files: dict[str, str]
    """File name -> SHA-256, for every other file of the export."""
    parity: dict[str, float]
    """"plain" and "onnx" -> largest absolute difference to videokd's logits on random clips."""
    videokd_version: str

    def write(self, folder: Path) -> None:
        """Write ``folder/model.json``, atomically."""
        architecture = {**asdict(self.architecture), "head_name": self.architecture.head_name}
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        content["architecture"] = architecture
        content["preprocessing"] = self.preprocessing.to_json()
        write_json(folder / SIDECAR_NAME, {"format_version": FORMAT_VERSION, **content})

    @classmethod
    def read(cls, folder: Path) -> "Sidecar":
        """Load and check ``folder/model.json``.

        Raises:
            InputError: The file is missing or has another format version, or keys are missing or of
                a wrong type.
        """
        path = folder / SIDECAR_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            cause = getattr(error, "strerror", None) or error
            raise InputError(
                f"{path} cannot be read ({cause}); name a folder that `videokd export` wrote"
            ) from error
        try:
            return _parse(content)
        except InputError as error:
            raise InputError(f"{path}: {error}; export the student anew") from error


def _parse(content: Any) -> Sidecar:
    content = _require("content", content, dict)
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(f"format_version must be {FORMAT_VERSION}, got {version!r}")
    return Sidecar(
        dataset=_get(content, "dataset", str),
        architecture=_parse_architecture(_get(content, "architecture", dict)),
        labels=_parse_labels(_get(content, "labels", list)),
        preprocessing=_parse_preprocessing(_get(content, "preprocessing", dict)),
        files=_get(content, "files", dict),
        parity=_get(content, "parity", dict),
        videokd_version=_get(content, "videokd_version", str),
    )


def _parse_architecture(value: Mapping[str, Any]) -> Architecture:
    arguments = _get(value, "arguments", dict)
    return Architecture(
        _get(value, "name", str),
        _get(value, "family", str),
        # Lists become tuples, which JSON does not have.
        {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()},
    )


def _parse_labels(value: list[Any]) -> tuple[str, ...]:
    return tuple(_require("label", label, str) for label in value)


def _parse_preprocessing(value: Mapping[str, Any]) -> Preprocessing:
    names = {f.name for f in fields(Preprocessing)}
    wrong = value.keys() ^ names
    if wrong:
        raise InputError(f"preprocessing has missing or unknown keys: {', '.join(sorted(wrong))}")
    rgb = {name: tuple(_get(value, name, list)) for name in ("mean", "std")}
    return Preprocessing(**{**value, **rgb})


def _get(value: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    if key not in value:
        raise InputError(f"key {key} is missing")
    return _require(key, value[key], kind)


def _require(name: str, value: Any, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise InputError(f"{name} must be {kind.__name__}, got {value!r:.60}")
    return value


def _require_int(name: str, value: Any, *, minimum: int) -> None:
    # bool is a subclass of int.
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise InputError(f"{name} must be a whole number >= {minimum}, got {value!r:.60}")


def _require_rgb(name: str, value: Any) -> None:
    if len(value) != 3 or not all(isinstance(x, int | float) for x in value):
        raise InputError(f"{name} must be three numbers, got {value!r:.60}")
