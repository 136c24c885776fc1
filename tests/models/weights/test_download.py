"""No test here needs a network: what would use it is replaced."""

import socket
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from videokd.models.weights import download
from videokd.models.weights.source import identify_weights, read_weights
from videokd.utils.class_names import ONLY_HEAD
from videokd.utils.errors import InputError

R3D = "torchvision:R3D_18_Weights.KINETICS400_V1"
STATE = {"a.weight": torch.tensor([1.0, 2.0])}


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """The folder where torch keeps what it downloads; no network."""

    def refuse(*args, **options):
        raise URLError(OSError("no network"))

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize(
    ("source", "spelling"),
    [
        ("torchvision:R3D_18_Weights.DEFAULT", R3D),
        (R3D, R3D),
        ("pytorchvideo:slow_r50", "pytorchvideo:slow_r50"),
    ],
)
def test_a_librarys_weights_have_one_name(source, spelling):
    assert identify_weights(source) == spelling


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("torchvision:r3d_18", "torchvision has no weights 'r3d_18'; write the enum and its mem"),
        ("torchvision:R3D_18_Weights.UCF", "torchvision has no weights 'R3D_18_Weights.UCF'"),
        ("pytorchvideo:slow", "pytorchvideo has no weights 'slow'; it has c2d_r50, csn_r101"),
        ("torchvision:", "weights torchvision: need a name, as torchvision:R2Plus1D"),
        ("https://a.org/b.pth", "of no known library; .*a file from elsewhere is downloaded firs"),
        ("tv:R3D_18_Weights.DEFAULT", "weights tv:R3D_18_Weights.DEFAULT are of no known library"),
    ],
)
def test_unknown_weights_are_refused_with_what_is_known(source, message):
    for function in (identify_weights, read_weights):
        with pytest.raises(InputError, match=message):
            function(source)


@pytest.mark.parametrize(
    ("source", "url"),
    [
        (R3D, "https://download.pytorch.org/models/r3d_18-b3b3357e.pth"),
        (
            "pytorchvideo:slow_r50",
            "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/SLOW_8x8_R50.pyth",
        ),
    ],
)
def test_without_a_network_the_message_says_what_to_put_where(hub, source, url):
    with pytest.raises(InputError, match="cannot be downloaded .*no network.* by hand") as caught:
        read_weights(source)
    assert url in str(caught.value)
    assert str(hub / Path(url).name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [STATE, {"model_state": STATE}])
def test_a_file_put_there_by_hand_is_read(hub, content):
    hub.mkdir(parents=True)
    torch.save(content, hub / "SLOW_8x8_R50.pyth")
    assert torch.equal(read_weights("pytorchvideo:slow_r50").state["a.weight"], STATE["a.weight"])


def test_a_damaged_download_is_named_with_where_it_came_from(hub):
    hub.mkdir(parents=True)
    (hub / "SLOW_8x8_R50.pyth").write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"SLOW_8x8_R50.pyth are damaged.* came from https://dl"):
        read_weights("pytorchvideo:slow_r50")


def test_torchvisions_files_are_checked_by_the_hash_in_their_names(hub, monkeypatch):
    content = iter([b"<html>other</html>", b""])

    class Response:
        headers = {"Content-Length": "18"}

        def read(self, size):
            return next(content)

        def info(self):
            return self

        def get_all(self, name):
            return ["18"]

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(torch.hub, "urlopen", lambda *args, **options: Response())
    with pytest.raises(
        InputError, match=r'cannot be downloaded \(invalid hash value \(expected "b'
    ):
        read_weights(R3D)
    assert not (hub / "r3d_18-b3b3357e.pth").exists()


@pytest.mark.parametrize("library", ["hf", "timm"])
def test_a_missing_library_is_named_with_its_extra(library, monkeypatch):
    package = {"hf": "transformers", "timm": "timm"}[library]
    monkeypatch.setattr(download, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"need {package}; run pip install -e '\.\[{package}\]'"):
        identify_weights(f"{library}:some/thing")


def test_hugging_faces_weights_are_those_of_its_file_and_no_drawn_ones(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.VideoMAEConfig(
        **{"image_size": 32, "num_frames": 4, "hidden_size": 16, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "intermediate_size": 32, "num_labels": 5},
    )
    net = transformers.VideoMAEForVideoClassification(config)
    net.save_pretrained(tmp_path / "whole")
    fetched = read_weights(str(tmp_path / "whole"))
    assert fetched.clip == (4, 32)
    read = fetched.state
    expected = net.state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], value) for name, value in expected.items())

    net.videomae.save_pretrained(tmp_path / "backbone")
    read = read_weights(str(tmp_path / "backbone")).state
    assert not any(name.startswith("classifier") for name in read)
    assert read.keys() <= expected.keys()


def test_class_names_come_with_the_weights_of_libraries(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_fetch_url", lambda url, load: download.Fetched({}))
    names = read_weights(R3D).class_names[ONLY_HEAD]
    assert (len(names), names[0]) == (400, "abseiling")
    transformers = pytest.importorskip("transformers")
    sizes = {"image_size": 32, "num_frames": 4, "hidden_size": 16, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 32}
    identities = []
    for labels in (None, {0: "run", 1: "sit"}, {0: "sit", 1: "run"}):
        config = transformers.VideoMAEConfig(**sizes, **({"id2label": labels} if labels else {}))
        transformers.VideoMAEForVideoClassification(config).save_pretrained(tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"the same")
        identities.append(identify_weights(str(tmp_path)))
        found = download._class_names_of(config).get(ONLY_HEAD, [])
        assert found == list((labels or {}).values())
    assert len(set(identities)) == 3


def test_what_hugging_faces_loader_leaves_out_is_noted(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.VideoMAEConfig(
        **{"image_size": 32, "num_frames": 4, "hidden_size": 16, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "intermediate_size": 32, "decoder_num_hidden_layers": 1},
        **{"decoder_hidden_size": 16, "decoder_num_attention_heads": 2},
        **{"decoder_intermediate_size": 32},
    )
    transformers.VideoMAEForPreTraining(config).save_pretrained(tmp_path / "pretrained")
    fetched = read_weights(str(tmp_path / "pretrained"))
    assert fetched.note.startswith("transformers left out ")
    assert "decoder" in fetched.note


def test_a_folder_that_is_no_video_classifier_of_hugging_face_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        **{"image_size": 32, "hidden_size": 16, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "intermediate_size": 32},
    )
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="cannot be read by transformers: .*ViTConfig"):
        read_weights(str(tmp_path))


def test_unknown_names_of_timm_are_refused():
    pytest.importorskip("timm")
    with pytest.raises(InputError, match="timm has no network 'resnet5'; like it are "):
        identify_weights("timm:resnet5")
    with pytest.raises(InputError, match="timm has no weights 'resnet50.nope'"):
        identify_weights("timm:resnet50.nope")


def test_weights_of_timm_come_from_its_own_loader(monkeypatch):
    timm = pytest.importorskip("timm")
    asked = []

    def create_model(name, *, pretrained):
        asked.append((name, pretrained))
        return torch.nn.Linear(2, 1)

    monkeypatch.setattr(timm, "create_model", create_model)
    assert set(read_weights("timm:resnet10t.c3_in1k").state) == {"weight", "bias"}
    assert asked == [("resnet10t.c3_in1k", True)]

    def fail(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(InputError, match="downloaded from https://huggingface.co/timm/resnet10t"):
        read_weights("timm:resnet10t.c3_in1k")
