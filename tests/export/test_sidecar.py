import json
from dataclasses import replace

import pytest

from videokd.export import Sidecar
from videokd.utils.errors import InputError


@pytest.fixture
def sidecar(architecture, preprocessing):
    return Sidecar(
        dataset="toy",
        architecture=architecture,
        labels=("a", "b"),
        preprocessing=preprocessing,
        files={"student.pth": "0" * 64},
        parity={"plain": 0.0},
        videokd_version="0.1.0",
    )


def edit(folder, change):
    path = folder / "model.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_sidecar_read_returns_what_was_written(sidecar, tmp_path):
    sidecar.write(tmp_path)
    assert Sidecar.read(tmp_path) == sidecar


@pytest.mark.parametrize(
    "values",
    [
        {"box_size": 36},
        {"sampler": "segments", "short_video": "loop", "clip_rule": "end_inclusive"},
        {"target_fps": 12.5, "num_crops": 5},
    ],
)
def test_every_convention_of_the_clips_is_written(sidecar, tmp_path, values):
    changed = replace(sidecar, preprocessing=replace(sidecar.preprocessing, **values))
    changed.write(tmp_path)
    assert Sidecar.read(tmp_path) == changed
    written = json.loads((tmp_path / "model.json").read_text())["preprocessing"]
    assert {key: written[key] for key in values} == values


def test_sidecar_states_the_head_name(sidecar, tmp_path):
    sidecar.write(tmp_path)
    content = json.loads((tmp_path / "model.json").read_text())
    assert content["architecture"]["head_name"] == "fc"


def test_read_refuses_a_folder_without_sidecar(tmp_path):
    with pytest.raises(
        InputError, match=r"model\.json cannot be read \(No such file .*`videokd export`"
    ):
        Sidecar.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format_version=2), "format_version must be 1, got 2"),
        (lambda c: c.pop("format_version"), "format_version must be 1, got None"),
        (lambda c: c.pop("labels"), "key labels is missing"),
        (lambda c: c.update(labels="ab"), "labels must be list, got 'ab'"),
        (lambda c: c.update(labels=[1]), "label must be str, got 1"),
        (lambda c: c["architecture"].pop("family"), "key family is missing"),
        (lambda c: c["preprocessing"].pop("num_clips"), "unknown keys: num_clips"),
        (lambda c: c["preprocessing"].update(crop_size=True), "crop_size must be a whole number"),
        (lambda c: c["preprocessing"].update(mean=[0.5]), "mean must be three numbers"),
        (lambda c: c["preprocessing"].update(clip_rule="other"), "clip_rule must be"),
    ],
)
def test_read_refuses_a_changed_sidecar(sidecar, tmp_path, change, message):
    sidecar.write(tmp_path)
    edit(tmp_path, change)
    with pytest.raises(InputError, match=message):
        Sidecar.read(tmp_path)


def test_read_refuses_what_is_not_an_object(tmp_path):
    (tmp_path / "model.json").write_text("[]")
    with pytest.raises(InputError, match="content must be dict"):
        Sidecar.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_frames", 0, "num_frames must be a whole number >= 1, got 0"),
        ("short_side", -1, "short_side must be a whole number >= 0"),
        ("num_crops", 2, "num_crops must be 1, 3 or 5, got 2"),
        (
            "clip_rule",
            "random",
            "must be one of segment_centres, end_inclusive, got 'random'",
        ),
        ("sampler", "sparse", "kind must be one of dense, segments, non_local, got 'sparse'"),
        ("short_video", "pad", "short_video must be one of spread, clamp, loop, got 'pad'"),
        ("target_fps", -1.0, r"target_fps must be >= 0 \(0 = frames as they are\), got -1.0"),
        ("target_fps", "25", "target_fps must be a number, got '25'"),
        ("box_size", -1, "box_size must be a whole number >= 0, got -1"),
        ("std", (0.2, 0.0, 0.2), "std must be > 0"),
    ],
)
def test_preprocessing_refuses_what_cannot_be_done(preprocessing, name, value, message):
    with pytest.raises(InputError, match=message):
        replace(preprocessing, **{name: value})
