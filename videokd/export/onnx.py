"""ONNX export and inference; the only module that uses the optional ONNX packages."""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videokd.export.network import NormalizedNetwork
from videokd.utils.errors import InputError, how_to_install

INPUT_NAME = "clips"
OUTPUT_NAME = "logits"
_NOISY_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


def require_onnx(*packages: str) -> None:
    """Raise InputError unless all ``packages`` can be imported."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"ONNX needs {', '.join(missing)}, not installed; {how_to_install('onnx')}"
        )


def convert_to_onnx(network: NormalizedNetwork, example: Tensor) -> bytes:
    """Return a network as an ONNX file.

    Args:
        network: Network in eval mode, on the CPU.
        example: (B, 3, T, H, W) with B >= 2, because the exporter would treat B = 1 as a constant.
            T, H and W are fixed in the file, B stays free.

    Returns:
        Bytes of the file: input "clips" float32 (B, 3, T, H, W) in [0, 1], output "logits" (B, K).

    Raises:
        InputError: A package is missing.
    """
    require_onnx("onnx", "onnxscript")
    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    data: bytes = program.model_proto.SerializeToString()
    return data


def load_onnx(data: bytes) -> Callable[[Tensor], Tensor]:
    """Load an ONNX file as a function from clips (B, 3, T, H, W) to logits (B, K), on the CPU.

    Raises:
        InputError: onnxruntime is missing, or cannot run the file.
    """
    require_onnx("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(
            data, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has no narrower base class
        raise InputError(f"the ONNX file cannot be run: {str(error).splitlines()[0]}") from error

    def run(clips: Tensor) -> Tensor:
        values: NDArray[np.float32] = session.run([OUTPUT_NAME], {INPUT_NAME: clips.numpy()})[0]
        return torch.from_numpy(values)

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's prints, warnings and log lines."""
    loggers = [logging.getLogger(name) for name in _NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
