"""timm's networks as students: the name and place of their classifiers differ."""

import subprocess
import sys

import pytest
import torch

from videokd.export import FORMATS, Sidecar, export_student
from videokd.export.network import build_network
from videokd.models.classifier import VideoClassifier
from videokd.models.normalizer import ClipNormalizer
from videokd.models.zoo import get_architecture

pytest.importorskip("timm")


@pytest.fixture
def export(preprocessing, tmp_path):
    def run(name, **options):
        architecture = get_architecture(name, num_frames=4, crop_size=32)
        backbone = architecture.build_backbone()
        model = VideoClassifier(
            backbone, {"toy": 3}, normalizer=ClipNormalizer(preprocessing.mean, preprocessing.std)
        )
        torch.nn.init.normal_(model.heads["toy"].weight)
        report = export_student(
            model,
            architecture,
            folder=tmp_path / "out",
            dataset="toy",
            class_names=("jump", "run", "sit"),
            preprocessing=preprocessing,
            **options,
        )
        return model.eval(), report

    return run


@pytest.mark.parametrize("name", ["timm:test_convnext", "timm:test_vit", "timm-tsm:test_resnet"])
def test_weights_and_sidecar_rebuild_the_student(export, preprocessing, name):
    model, report = export(name, formats=["pth"])
    assert report.parity["plain"] == 0.0
    sidecar = Sidecar.read(report.folder)
    state = torch.load(report.folder / "student.pth", weights_only=True)
    assert f"{sidecar.architecture.head_name}.weight" in state
    network = build_network(sidecar.architecture, state, num_classes=3, preprocessing=preprocessing)
    clips = torch.rand(2, 3, 4, 32, 32)
    with torch.no_grad():
        expected = model.classify(model({"clip": clips}).embedding, "toy")
        assert torch.equal(network(clips), expected)


@pytest.mark.nightly
def test_onnx_takes_the_shift_in_time(export):
    _, report = export("timm-tsm:test_resnet", formats=FORMATS)
    assert report.parity["onnx"] <= 1e-4


def test_the_architecture_file_needs_torch_and_timm_only(export):
    _, report = export("timm-tsm:test_resnet", formats=["pth"])
    code = (
        "import sys, torch, architecture; net = architecture.load_student(); "
        "sys.exit('videokd' in sys.modules or net(torch.rand(2, 3, 4, 32, 32)).shape != (2, 3))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=report.folder, check=True, timeout=120)
