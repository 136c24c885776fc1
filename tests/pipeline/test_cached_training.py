"""A training on cached frames equals the same training on decoded frames, whatever the files."""

import shutil

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from videokd.config import load_config
from videokd.data.decode import open_video
from videokd.engine.stop import StopRequest
from videokd.pipeline.experiment import run_experiment
from videokd.pipeline.run import open_run_directory, prepare_run

ODD_VIDEOS = 20


@pytest.fixture
def odd_root(tiny_data, tmp_path, put_times_in_decoding_order):
    """The tiny Kinetics-style dataset, its first training videos with times in decoding order."""
    root = shutil.copytree(tiny_data / "kinetics_style", tmp_path / "odd")
    for path in sorted(root.rglob("train/**/*.mp4"))[:ODD_VIDEOS]:
        put_times_in_decoding_order(path).replace(path)
    return root


def train_expert(config, folder, frame_cache, *words):
    overrides = ["OUTPUT_DIR", str(folder), "DATA.FRAME_CACHE", str(frame_cache), *words]
    cfg = load_config(config, overrides)
    run = prepare_run(cfg, Console(quiet=True), StopRequest())
    open_run_directory(run)
    run_experiment(run, "experts")
    return load_file(folder / "experts/KINETICS/model.safetensors")


def test_frame_cache_gives_the_same_weights_on_files_with_decoding_times(
    write_config, odd_root, tmp_path
):
    counted = 0
    for path in sorted(odd_root.rglob("train/**/*.mp4")):
        with open_video(str(path)) as video:
            counted += video.file.table.is_counted
    assert counted == ODD_VIDEOS
    config = write_config(datasets=("KINETICS",))
    words = ["DATASETS.KINETICS.ROOT", str(odd_root)]
    words += ["DATASETS.KINETICS.ANNOTATIONS", str(odd_root / "annotations")]
    decoded = train_expert(config, tmp_path / "a", "''", *words)
    cached = train_expert(config, tmp_path / "b", tmp_path / "frames", *words)
    assert decoded.keys() == cached.keys()
    for name, weight in decoded.items():
        torch.testing.assert_close(cached[name], weight, rtol=0, atol=0)
