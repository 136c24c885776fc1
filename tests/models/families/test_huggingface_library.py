"""Hugging Face's library: its versions, and networks rebuilt from an exported file."""

import configparser
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from videokd.export.architecture_file import write_architecture_source
from videokd.export.sidecar import Preprocessing
from videokd.models.optional import MIN_VERSIONS
from videokd.models.zoo import get_architecture
from videokd.utils.errors import InputError

transformers = pytest.importorskip("transformers")

FAMILY_NAMES = ["timesformer", "videomae", "vivit", "vjepa2"]
TINY = ["timesformer_b", "videomae_b", "vivit_b", "vjepa2_l"]
LIBRARY = {
    "timesformer": (transformers.TimesformerForVideoClassification, transformers.TimesformerConfig),
    "videomae": (transformers.VideoMAEForVideoClassification, transformers.VideoMAEConfig),
    "vivit": (transformers.VivitForVideoClassification, transformers.VivitConfig),
    "vjepa2": (transformers.VJEPA2ForVideoClassification, transformers.VJEPA2Config),
}


@pytest.mark.parametrize("name", TINY)
def test_an_exported_file_rebuilds_the_network(make_architecture, name):
    architecture = make_architecture(name)
    mean_std = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    views = {"short_side": 32, "crop_size": 32, "num_clips": 1, "num_crops": 1}
    preprocessing = Preprocessing(num_frames=4, sampling_rate=1, **views, **mean_std)
    source = write_architecture_source(
        architecture, num_classes=3, preprocessing=preprocessing, weights_format="pth"
    )
    scope = {"__name__": "student"}
    exec(compile(source, "architecture.py", "exec"), scope)
    rebuilt = scope["build"](**scope["ARGUMENTS"]).eval()
    plain = architecture.build_plain(num_classes=3).eval()
    rebuilt.load_state_dict(plain.state_dict(), strict=True)
    clips = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(rebuilt(clips), plain(clips))


def test_knowing_the_architectures_does_not_import_the_library():
    code = "import sys, videokd.models.zoo; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "videokd.models.plain.videomae", raising=False)
    with pytest.raises(InputError, match=r"videomae networks need .* -e '\.\[transformers\]'"):
        get_architecture("videomae_b", num_frames=2, crop_size=16).build_plain(2)


@pytest.mark.parametrize("version", ["4.57.6", "5.17.0"])
def test_a_library_that_is_too_old_is_named_with_its_version(monkeypatch, version):
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    message = rf"vivit networks need .* version {version} is installed, 5\.18 or newer is needed"
    with pytest.raises(InputError, match=message):
        get_architecture("vivit_b", num_frames=2, crop_size=16).build_plain(2)


def test_the_oldest_version_is_the_one_that_is_installed_by_the_extra():
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[3] / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    for library, version in MIN_VERSIONS.items():
        assert f"{library}>={'.'.join(map(str, version))}" in extras[library]
