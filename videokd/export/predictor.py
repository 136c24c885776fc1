"""Class prediction for video files, with an exported student."""

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from videokd.data.batch import BadVideo
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.data.test_views import ViewDataset
from videokd.export.network import build_network
from videokd.export.onnx import load_onnx
from videokd.export.sidecar import Sidecar
from videokd.utils.class_names import LABELS_NAME
from videokd.utils.errors import InputError, VideoError

RUNTIMES = ("torch", "onnx")
_MAX_VIEWS_AT_ONCE = 8


@dataclass(frozen=True)
class Prediction:
    """Most probable classes of one video."""

    path: str
    """Path as given by the caller."""
    labels: tuple[str, ...]
    """Class names, most probable first."""
    probs: tuple[float, ...]
    """Probabilities of ``labels`` in [0, 1]: softmax over all classes, averaged over the views."""
    num_views: int
    """Number of clips times number of crops."""


class Predictor:
    """Predictor of the class of video files, with an exported student, on the CPU.

    Decoding, clips, crops and averaging are the same as in the test. No file of the folder is run
    as code: videokd builds the network from the name and arguments in ``model.json``, and weights
    are read as data and checked against their SHA-256.

    Args:
        folder: Folder written by ``export_student``.
        backend: Decoder, see ``videokd.data.decode.open_video``.
        runtime: "torch", or "onnx" for onnxruntime.
        num_clips: Number of clips along time; 0 uses the number of the test.

    Raises:
        InputError: ``folder`` has no export, a file is damaged or missing, class names differ
            between ``model.json`` and ``labels.txt``, or the runtime is unknown.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        backend: str = "auto",
        runtime: str = "torch",
        num_clips: int = 0,
    ) -> None:
        if runtime not in RUNTIMES:
            raise InputError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
        folder = Path(folder)
        self.sidecar = Sidecar.read(folder)
        _check_labels(folder, self.sidecar)
        preprocessing = self.sidecar.preprocessing
        if num_clips:
            preprocessing = replace(preprocessing, num_clips=num_clips)
        self._preprocessing = preprocessing
        self._backend = backend
        load = _load_torch if runtime == "torch" else _load_onnx
        self._run = load(folder, self.sidecar)

    def predict(self, video_path: Path | str, top_k: int = 5) -> Prediction:
        """Return the most probable classes of one video.

        Args:
            video_path: A local file; links are followed.
            top_k: Number of classes to return, at most K.

        Raises:
            VideoError: The video cannot be used; the cause is a few words.
            InputError: ``top_k`` is not positive.
        """
        if top_k <= 0:
            raise InputError(f"top_k must be > 0, got {top_k}")
        clips = self._read_views(str(video_path))
        with torch.inference_mode():
            probs = torch.cat(
                [
                    self._run(part.float() / 255).softmax(dim=1)
                    for part in clips.split(_MAX_VIEWS_AT_ONCE)
                ]
            ).mean(dim=0)
        values, ids = probs.topk(min(top_k, len(probs)))
        labels = tuple(self.sidecar.labels[i] for i in ids.tolist())
        return Prediction(str(video_path), labels, tuple(values.tolist()), len(clips))

    def _read_views(self, path: str) -> Tensor:
        """Return the views (V, 3, T, H, W) uint8, made by the code of the test."""
        spec = self._preprocessing
        # The user chose this file, so its link may point anywhere: the target's folder is the root.
        file = Path(os.path.realpath(path))
        record = VideoRecord(file.name, label=0, dataset=self.sidecar.dataset, group="")
        index = VideoIndex(
            (record,), self.sidecar.labels, file.parent, self.sidecar.dataset, "predict"
        )
        views = ViewDataset(
            index,
            dataset_id=0,
            clip=spec.clip,
            num_clips=spec.num_clips,
            num_crops=spec.num_crops,
            clip_rule=spec.clip_rule,
            backend=self._backend,
        )
        sample = views[0]
        if isinstance(sample, BadVideo):
            raise VideoError(path, sample.cause)
        return sample.clips[spec.clip.name]


def _check_labels(folder: Path, sidecar: Sidecar) -> None:
    path = folder / LABELS_NAME
    if LABELS_NAME not in sidecar.files or not path.exists():
        return
    labels = _read_checked(folder, sidecar, LABELS_NAME).decode().removesuffix("\n").split("\n")
    if labels != list(sidecar.labels):
        raise InputError(
            f"{path} and model.json name other classes, or in another order; export the student "
            "anew, or restore the two files of one export"
        )


def _load_torch(folder: Path, sidecar: Sidecar) -> Callable[[Tensor], Tensor]:
    """Build the network and load its weights, from safetensors if both formats exist."""
    name = next((n for n in ("student.safetensors", "student.pth") if n in sidecar.files), "")
    if not name:
        raise InputError(f"{folder} holds no torch weights; use runtime onnx, or export pth")
    data = _read_checked(folder, sidecar, name)
    architecture = sidecar.architecture
    try:
        if name.endswith(".pth"):
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        else:
            state = safetensors.torch.load(data)
        return build_network(
            architecture,
            state,
            num_classes=len(sidecar.labels),
            preprocessing=sidecar.preprocessing,
        )
    except Exception as error:  # each library has its own error classes
        raise InputError(
            f"{folder / name} and the {architecture.family!r} network in model.json do not fit "
            f"together ({_first_line(error)}); export the student anew"
        ) from error


def _load_onnx(folder: Path, sidecar: Sidecar) -> Callable[[Tensor], Tensor]:
    if "student.onnx" not in sidecar.files:
        raise InputError(f"{folder} holds no student.onnx; use runtime torch, or export onnx")
    return load_onnx(_read_checked(folder, sidecar, "student.onnx"))


def _read_checked(folder: Path, sidecar: Sidecar, name: str) -> bytes:
    """Return the bytes of an exported file after checking its SHA-256 against the sidecar."""
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); export the student anew"
        ) from error
    if hashlib.sha256(data).hexdigest() != sidecar.files[name]:
        raise InputError(f"{path} does not match the SHA-256 in model.json; export anew")
    return data


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
