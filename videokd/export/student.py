"""Export of one trained student to files that work without videokd, checked against the model.

student.pth  student.safetensors  architecture.py  student.onnx  labels.txt  model.json
"""

import copy
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

import videokd
from videokd.export import architecture_file
from videokd.export.network import NormalizedNetwork, build_network, plain_state_dict
from videokd.export.onnx import convert_to_onnx, load_onnx, require_onnx
from videokd.export.sidecar import SIDECAR_NAME, Preprocessing, Sidecar
from videokd.models.classifier import VideoClassifier
from videokd.models.zoo import Architecture
from videokd.utils.class_names import LABELS_NAME
from videokd.utils.errors import InputError, RunError
from videokd.utils.io import atomic_write_bytes, sha256_file

logger = logging.getLogger(__name__)

FORMATS = ("pth", "safetensors", "onnx")
# Both networks run the same operations, except for classifiers that the library writes as a
# convolution. The tolerance allows for other rounding, of logits up to 1 or relative to larger
# ones.
PLAIN_TOLERANCE = 1e-6
ONNX_TOLERANCE = 1e-4
_NUM_CHECKED_CLIPS = 3


@dataclass(frozen=True)
class ExportReport:
    """Files and exactness of an export."""

    folder: Path
    files: tuple[str, ...]
    """File names in the order of writing."""
    num_parameters: int
    parity: dict[str, float]
    """"plain", and "onnx" when exported -> largest absolute difference to videokd's logits."""


def export_student(
    model: VideoClassifier,
    architecture: Architecture,
    *,
    folder: Path,
    dataset: str,
    class_names: Sequence[str],
    preprocessing: Preprocessing,
    formats: Sequence[str] = FORMATS,
) -> ExportReport:
    """Export the backbone and one head of ``model`` as the library's own network.

    Every format is compared with ``model``, in float32 on the CPU, on random clips. Files of an
    earlier export in ``folder`` are replaced. ``model`` is not changed. ``model.json`` is written
    last: a folder without it is an incomplete export.

    Args:
        model: Model on any device, in any mode.
        architecture: Architecture of its backbone.
        folder: Output folder; created when missing.
        dataset: Name of the dataset whose head is exported.
        class_names: K names, in the order of the logits.
        preprocessing: Normalisation (which must be the model's own), clip size and test views.
        formats: Some of "pth", "safetensors", "onnx".

    Raises:
        InputError: Unknown format or dataset, wrong class names, or a missing package for ONNX.
        RunError: An export does not reproduce the model's logits: they differ by more than 1e-6 for
            the plain network (times the largest logit, if that is above 1), or by more than 1e-4
            for ONNX.
    """
    _check_request(model, dataset, class_names, formats)
    reference = _copy_for_comparison(model)
    state = plain_state_dict(reference, dataset)
    num_classes = len(class_names)
    network = build_network(
        architecture, state, num_classes=num_classes, preprocessing=preprocessing
    )
    clips = _random_clips(preprocessing)
    with torch.no_grad():
        expected = reference.classify(reference({model.clip_name: clips}).embedding, dataset)
    tolerance = PLAIN_TOLERANCE * max(1.0, expected.abs().max().item())
    parity = {"plain": _compare("plain", network, clips, expected, tolerance)}
    contents = _serialize(network, state, clips, formats)
    if "student.onnx" in contents:
        run = load_onnx(contents["student.onnx"])
        parity["onnx"] = _compare("onnx", run, clips, expected, ONNX_TOLERANCE)
    weights_format = next((f for f in ("pth", "safetensors") if f in formats), "")
    if weights_format:
        contents[architecture_file.FILE_NAME] = architecture_file.write_architecture_source(
            architecture,
            num_classes=num_classes,
            preprocessing=preprocessing,
            weights_format=weights_format,
        ).encode()
    contents[LABELS_NAME] = "".join(f"{name}\n" for name in class_names).encode()

    hashes = _replace_files(folder, contents)
    Sidecar(
        dataset=dataset,
        architecture=architecture,
        labels=tuple(class_names),
        preprocessing=preprocessing,
        files=hashes,
        parity=parity,
        videokd_version=videokd.__version__,
    ).write(folder)
    logger.info("exported %s to %s: %s", dataset, folder, ", ".join(contents))
    num_parameters = sum(p.numel() for p in network.parameters())
    return ExportReport(folder, (*contents, SIDECAR_NAME), num_parameters, parity)


def _check_request(
    model: VideoClassifier, dataset: str, class_names: Sequence[str], formats: Sequence[str]
) -> None:
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise InputError(
            f"export formats must be some of {', '.join(FORMATS)}, got {', '.join(unknown) or '[]'}"
        )
    if dataset not in model.heads:
        raise InputError(
            f"the model has no classifier for {dataset!r}; it has {', '.join(sorted(model.heads))}"
        )
    num_classes = model.heads[dataset].out_features
    if len(class_names) != num_classes:
        raise InputError(
            f"{dataset} has {len(class_names)} class names, its classifier {num_classes} outputs"
        )
    broken = [name for name in class_names if not name or "\n" in name]
    if broken:
        raise InputError(f"class names must be one line of text, got {broken[0]!r}")
    if "onnx" in formats:
        # Checked now, not after minutes of conversion.
        require_onnx("onnx", "onnxscript", "onnxruntime")


def _copy_for_comparison(model: VideoClassifier) -> VideoClassifier:
    """Return a float32 copy of a model on the CPU, in eval mode."""
    reference = copy.deepcopy(model).cpu().eval()
    reference.precision = "float32"
    # Other memory layouts use other kernels, which round differently.
    reference.memory_format = torch.contiguous_format
    return reference.to(memory_format=torch.contiguous_format)


def _random_clips(preprocessing: Preprocessing) -> Tensor:
    size = preprocessing.crop_size
    shape = (_NUM_CHECKED_CLIPS, 3, preprocessing.num_frames, size, size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def _compare(
    name: str,
    run: Callable[[Tensor], Tensor],
    clips: Tensor,
    expected: Tensor,
    tolerance: float,
) -> float:
    """Return the largest absolute difference to ``expected`` (B, K) after checking it."""
    with torch.no_grad():
        difference = (run(clips) - expected).abs().max().item()
    # ``not <=`` is also true for NaN.
    if not difference <= tolerance:
        raise RunError(
            f"the {name} export does not give the model's logits: off by {difference:g}, allowed "
            f"is {tolerance:g}; check that preprocessing has the model's own mean and std"
        )
    return difference


def _serialize(
    network: NormalizedNetwork, state: dict[str, Tensor], clips: Tensor, formats: Sequence[str]
) -> dict[str, bytes]:
    """Return file name -> bytes, for the weight files."""
    contents = {}
    if "pth" in formats:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        contents["student.pth"] = buffer.getvalue()
    if "safetensors" in formats:
        contents["student.safetensors"] = save_safetensors(state)
    if "onnx" in formats:
        contents["student.onnx"] = convert_to_onnx(network, clips[:2])
    return contents


def _replace_files(folder: Path, contents: Mapping[str, bytes]) -> dict[str, str]:
    """Write the files, remove those of an earlier export, and return the SHA-256 of each file."""
    folder.mkdir(parents=True, exist_ok=True)
    # The sidecar is removed first, so that it never describes files of another export.
    stale = {f"student.{name}" for name in FORMATS} | {architecture_file.FILE_NAME}
    for name in (SIDECAR_NAME, *sorted(stale - contents.keys())):
        (folder / name).unlink(missing_ok=True)
    for name, data in contents.items():
        atomic_write_bytes(folder / name, data)
    return {name: sha256_file(folder / name) for name in contents}
