"""Source file ``architecture.py``, which rebuilds a student without videokd."""

import pprint
from importlib import resources

from videokd.export.sidecar import Preprocessing
from videokd.models.zoo import Architecture

FILE_NAME = "architecture.py"

_TEMPLATE = '''{source}

# The exported student. Its input is float32 RGB in [0, 1], (B, 3, {num_frames}, {size}, {size}),
# from which MEAN is subtracted and which is then divided by STD{turned}; its output is logits.
ARGUMENTS = {arguments}
MEAN = {mean}
STD = {std}


def load_student():
    """Build the network in eval mode with the weights that lie beside this file."""
{load}
    net = build(**ARGUMENTS)
    net.load_state_dict(state, strict=True)
    return net.eval()
'''
_LOAD_LINES = {
    "pth": """    from pathlib import Path

    import torch

    path = Path(__file__).with_name("student.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)""",
    "safetensors": """    from pathlib import Path

    from safetensors.torch import load_file

    state = load_file(Path(__file__).with_name("student.safetensors"))""",
}


def write_architecture_source(
    architecture: Architecture,
    *,
    num_classes: int,
    preprocessing: Preprocessing,
    weights_format: str,
) -> str:
    """Return the Python source: the family's plain file with ``load_student()`` at its end.

    Args:
        architecture: Architecture of the student.
        num_classes: Number of outputs of its classifier.
        preprocessing: Clip size and normalisation, for the caller of the network.
        weights_format: "pth" or "safetensors", the file that ``load_student()`` reads.
    """
    plain_files = resources.files("videokd.models.plain")
    source = plain_files.joinpath(f"{architecture.family}.py").read_text(encoding="utf-8")
    arguments = {"num_classes": num_classes, **architecture.arguments}
    return _TEMPLATE.format(
        source=source.rstrip() + "\n",
        num_frames=preprocessing.num_frames,
        size=preprocessing.crop_size,
        arguments=pprint.pformat(arguments, sort_dicts=False),
        turned=", and then turned to BGR" if preprocessing.channels == "bgr" else "",
        mean=preprocessing.mean,
        std=preprocessing.std,
        load=_LOAD_LINES[weights_format],
    )
