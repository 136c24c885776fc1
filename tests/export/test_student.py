import json
import subprocess
import sys
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from videokd.export import FORMATS, export_student
from videokd.export.network import plain_state_dict
from videokd.models.normalizer import ClipNormalizer
from videokd.utils.errors import InputError
from videokd.utils.io import sha256_file

CLASS_NAMES = ("jump", "run", "sit")


def float32_logits(model, clips):
    precision, was_training = model.precision, model.training
    model.precision = "float32"
    with torch.no_grad():
        logits = model.eval().classify(model({"clip": clips}).embedding, "toy")
    model.precision = precision
    model.train(was_training)
    return logits


@pytest.fixture
def export(model, architecture, preprocessing, tmp_path):
    def run(**changes):
        arguments = {
            "folder": tmp_path / "out",
            "dataset": "toy",
            "class_names": CLASS_NAMES,
            "preprocessing": preprocessing,
            "formats": ["safetensors"],
        }
        return export_student(model, architecture, **{**arguments, **changes})

    return run


def test_plain_state_has_exactly_the_names_of_the_library(model, architecture):
    state = plain_state_dict(model, "toy")
    expected = architecture.build_plain(3).state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in expected.items()}


def test_export_gives_the_logits_of_the_model(exported):
    assert exported.parity["plain"] == 0.0
    assert exported.parity["onnx"] <= 1e-4


def test_export_leaves_the_model_as_it_was(exported, model):
    assert model.precision == "bf16"
    assert model.training
    assert model.memory_format == torch.channels_last_3d


def test_pth_and_safetensors_hold_the_same_tensors(exported):
    pth = torch.load(exported.folder / "student.pth", weights_only=True)
    other = safetensors.torch.load_file(exported.folder / "student.safetensors")
    assert pth.keys() == other.keys()
    assert all(torch.equal(pth[name], other[name]) for name in pth)


def test_architecture_file_loads_the_student_without_videokd(exported, model):
    clips = torch.rand(2, 3, 4, 32, 32)
    torch.save(clips, exported.folder / "clips.pt")
    code = """if True:
        import sys, torch, architecture
        clips = torch.load("clips.pt", weights_only=True)
        constants = (architecture.MEAN, architecture.STD)
        mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in constants)
        net = architecture.load_student()
        assert not net.training and "videokd" not in sys.modules
        torch.save(net((clips - mean) / std).detach(), "logits.pt")
    """
    subprocess.run([sys.executable, "-c", code], cwd=exported.folder, check=True, timeout=120)
    logits = torch.load(exported.folder / "logits.pt", weights_only=True)
    torch.testing.assert_close(logits, float32_logits(model, clips), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "formats", [["safetensors"], pytest.param(["onnx"], marks=pytest.mark.slow)]
)
def test_a_classifier_that_the_library_writes_as_a_convolution_is_exported_as_one(
    make_architecture, make_classifier, preprocessing, tmp_path, formats
):
    model = make_classifier(
        "s3d",
        {"toy": 400},
        num_frames=8,
        normalizer=ClipNormalizer(preprocessing.mean, preprocessing.std),
    )
    torch.nn.init.normal_(model.heads["toy"].weight)  # logits of dozens, as after training
    state = plain_state_dict(model, "toy")
    assert state["classifier.1.weight"].shape == (400, 128, 1, 1, 1)
    report = export_student(
        model,
        make_architecture("s3d", num_frames=8),
        folder=tmp_path,
        dataset="toy",
        class_names=[f"class {i}" for i in range(400)],
        preprocessing=replace(preprocessing, num_frames=8),
        formats=formats,
    )
    assert report.parity["plain"] < 1e-4


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_onnx_is_one_file_for_any_batch_size(exported, model, batch_size):
    import onnxruntime

    assert not list(exported.folder.glob("*.data"))
    session = onnxruntime.InferenceSession(str(exported.folder / "student.onnx"))
    clips = torch.rand(batch_size, 3, 4, 32, 32)
    (logits,) = session.run(["logits"], {"clips": clips.numpy()})
    torch.testing.assert_close(
        torch.from_numpy(logits), float32_logits(model, clips), atol=1e-4, rtol=1e-4
    )


def test_sidecar_holds_the_hash_of_every_other_file(exported):
    hashes = json.loads((exported.folder / "model.json").read_text())["files"]
    assert {*hashes, "model.json"} == set(exported.files)
    assert all(sha256_file(exported.folder / n) == h for n, h in hashes.items())


def test_labels_are_one_per_line(exported):
    assert (exported.folder / "labels.txt").read_text() == "jump\nrun\nsit\n"


def test_num_parameters_counts_the_plain_network(exported, architecture):
    expected = sum(p.numel() for p in architecture.build_plain(3).parameters())
    assert exported.num_parameters == expected


def test_a_new_export_removes_the_files_of_an_older_one(export):
    export(formats=["pth", "safetensors"])
    report = export(formats=["pth"])
    assert {p.name for p in report.folder.iterdir()} == set(report.files)
    assert "student.safetensors" not in report.files


def test_architecture_file_reads_safetensors_where_there_is_no_pth(export):
    report = export(formats=["safetensors"])
    code = "import architecture as a; print(sum(p.numel() for p in a.load_student().parameters()))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=report.folder, check=True, timeout=120, capture_output=True, text=True
    )
    assert int(result.stdout) == report.num_parameters


def test_wrong_normalisation_fails_the_parity_check(export, preprocessing, tmp_path):
    other = replace(preprocessing, mean=(0.0, 0.0, 0.0))
    with pytest.raises(RuntimeError, match="plain export does not give the model's logits"):
        export(preprocessing=other)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formats": ["pth", "tflite"]}, "some of pth, safetensors, onnx, got tflite"),
        ({"formats": []}, "some of pth, safetensors, onnx"),
        ({"dataset": "ucf"}, "no classifier for 'ucf'; it has other, toy"),
        ({"class_names": ["a"]}, "1 class names, its classifier 3 outputs"),
        ({"class_names": ["a", "b\n", "c"]}, "one line of text, got 'b"),
    ],
)
def test_export_refuses_wrong_requests(export, changes, message):
    with pytest.raises(InputError, match=message):
        export(**changes)


def test_missing_onnx_says_what_to_install(export, monkeypatch):
    find_spec = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda n: None if n == "onnxscript" else find_spec(n)
    )
    with pytest.raises(InputError, match=r"needs onnxscript, .*pip install -e '\.\[onnx\]'"):
        export(formats=list(FORMATS))
