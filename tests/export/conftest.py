from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from videokd.export import ExportReport, Preprocessing, export_student
from videokd.models.classifier import VideoClassifier
from videokd.models.normalizer import ClipNormalizer
from videokd.models.zoo import Architecture, get_architecture

CLASS_NAMES = ("jump", "run", "sit")


@pytest.fixture(scope="session")
def architecture() -> Architecture:
    return get_architecture(
        "r3d_18", num_frames=4, crop_size=32, width_factor=0.125, depth_factor=0.5
    )


@pytest.fixture(scope="session")
def preprocessing() -> Preprocessing:
    return Preprocessing(
        num_frames=4,
        sampling_rate=2,
        short_side=36,
        crop_size=32,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.25, 0.3),
        num_clips=2,
        num_crops=3,
    )


@pytest.fixture(scope="session")
def model(architecture: Architecture, preprocessing: Preprocessing) -> VideoClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VideoClassifier(
            architecture.build_backbone(),
            {"toy": 3, "other": 5},
            normalizer=ClipNormalizer(preprocessing.mean, preprocessing.std),
            precision="bf16",
            memory_format="channels_last_3d",
        )
        # The initial heads are so small that all predictions would be alike.
        torch.nn.init.normal_(model.heads["toy"].weight)
    return model


@pytest.fixture(scope="session")
def exported(
    model: VideoClassifier,
    architecture: Architecture,
    preprocessing: Preprocessing,
    tmp_path_factory: pytest.TempPathFactory,
) -> ExportReport:
    return export_student(
        model,
        architecture,
        folder=tmp_path_factory.mktemp("export"),
        dataset="toy",
        class_names=CLASS_NAMES,
        preprocessing=preprocessing,
    )


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "noise.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(12):
            pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path
