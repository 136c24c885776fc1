import json
import shutil

import pytest
import torch

from videokd.data.augment import Augmentation, apply_augmentation, uniform_crop_boxes
from videokd.data.decode import open_video
from videokd.data.sampling import clip_frame_indices, uniform_clip_starts
from videokd.export import Predictor
from videokd.utils.errors import InputError, VideoError


@pytest.fixture
def folder(exported, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(exported.folder, tmp_path / "copy")


def edit_sidecar(folder, change):
    path = folder / "model.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def slow_probs(model, video, box_size=32):
    """Softmax over 2 clips x 3 crops, one view at a time, with the training model itself."""
    views = []
    with open_video(str(video)) as reader:
        for start in uniform_clip_starts(12, num_clips=2, num_frames=4, sampling_rate=2):
            indices = clip_frame_indices(start, 12, num_frames=4, sampling_rate=2)
            frames = reader.get_frames(indices.tolist(), short_side=36)
            for box in uniform_crop_boxes(36, 48, size=box_size, num_crops=3):
                views.append(apply_augmentation(frames, Augmentation(box), size=32).float() / 255)
    return _mean_probs(model, views)


def _mean_probs(model, views):
    precision, was_training, model.precision = model.precision, model.training, "float32"
    with torch.no_grad():
        model.eval()
        probs = [
            model.classify(model({"clip": v[None]}).embedding, "toy").softmax(1) for v in views
        ]
    model.precision = precision
    model.train(was_training)
    return torch.cat(probs).mean(0)


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_prediction_is_the_mean_softmax_over_the_views_of_the_test(exported, model, video, runtime):
    prediction = Predictor(exported.folder, runtime=runtime).predict(video)
    expected = dict(zip(("jump", "run", "sit"), slow_probs(model, video).tolist(), strict=True))
    assert prediction.num_views == 6
    assert dict(zip(prediction.labels, prediction.probs, strict=True)) == pytest.approx(
        expected, abs=1e-5
    )
    assert list(prediction.probs) == sorted(prediction.probs, reverse=True)


def test_a_box_larger_than_the_crop_is_resized_to_it(folder, model, video):
    edit_sidecar(folder, lambda content: content["preprocessing"].update(box_size=36))
    prediction = Predictor(folder).predict(video)
    expected = dict(zip(("jump", "run", "sit"), slow_probs(model, video, 36).tolist(), strict=True))
    assert dict(zip(prediction.labels, prediction.probs, strict=True)) == pytest.approx(
        expected, abs=1e-5
    )


def test_views_follow_the_rules_of_the_test(folder, model, video):
    rules = {"clip_rule": "end_inclusive", "num_clips": 3, "num_crops": 1, "sampling_rate": 3}
    edit_sidecar(folder, lambda content: content["preprocessing"].update(rules))
    prediction = Predictor(folder).predict(video)
    views = []
    with open_video(str(video)) as reader:
        # 12 frames, clips of 10: they start at 0, 1 and 2.
        for start in range(3):
            frames = reader.get_frames(range(start, start + 10, 3), short_side=36)
            views.append(
                apply_augmentation(frames, Augmentation((2, 8, 32, 32)), size=32).float() / 255
            )
    expected = _mean_probs(model, views)
    assert dict(zip(prediction.labels, prediction.probs, strict=True)) == pytest.approx(
        dict(zip(("jump", "run", "sit"), expected.tolist(), strict=True)), abs=1e-5
    )


def test_top_k_limits_the_classes(exported, video):
    assert len(Predictor(exported.folder).predict(video, top_k=2).labels) == 2


def test_num_clips_replaces_that_of_the_test(exported, video):
    assert Predictor(exported.folder, num_clips=5).predict(video).num_views == 15


def test_pth_is_read_where_there_is_no_safetensors(folder, exported, video):
    edit_sidecar(folder, lambda c: c["files"].pop("student.safetensors"))
    expected = Predictor(str(exported.folder)).predict(video)
    assert Predictor(folder).predict(video) == expected


def test_a_link_to_a_video_elsewhere_is_followed(exported, video, tmp_path):
    link = tmp_path / "link.mp4"
    link.symlink_to(video)
    assert Predictor(exported.folder).predict(link).path == str(link)


def test_an_unusable_video_is_named_with_its_cause(exported, tmp_path):
    predictor = Predictor(exported.folder)
    (tmp_path / "empty.mp4").touch()
    for name, cause in (("empty.mp4", "empty file"), ("none.mp4", "No such file or directory")):
        with pytest.raises(VideoError, match=f"{tmp_path}/{name}: {cause}"):
            predictor.predict(tmp_path / name)


def test_a_url_is_not_opened(exported):
    with pytest.raises(VideoError, match="No such file"):
        Predictor(exported.folder).predict("http://127.0.0.1:1/video.mp4")


def test_predictor_runs_no_code_of_the_folder(folder, video):
    expected = Predictor(folder).predict(video)
    (folder / "architecture.py").write_text("raise SystemExit('was run')")
    assert Predictor(folder).predict(video) == expected


def test_changed_weights_are_refused(folder):
    with (folder / "student.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match="student.safetensors does not match the SHA-256"):
        Predictor(folder)


def test_changed_class_names_are_refused(folder):
    edit_sidecar(folder, lambda content: content["labels"].reverse())
    with pytest.raises(InputError, match="labels.txt and model.json name other classes, or in an"):
        Predictor(folder)
    (folder / "labels.txt").write_text("sit\nrun\njump\n")
    with pytest.raises(InputError, match="labels.txt does not match the SHA-256 in model.json"):
        Predictor(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["architecture"].update(family="os"), "'os' network .* do not fit"),
        (lambda c: c["architecture"]["arguments"].update(width=16), "do not fit together"),
        (lambda c: c["architecture"]["arguments"].update(x=16), "do not fit together"),
        (lambda c: c.update(files={}), "holds no torch weights; use runtime onnx"),
    ],
)
def test_a_sidecar_of_another_model_is_refused(folder, change, message):
    edit_sidecar(folder, change)
    with pytest.raises(InputError, match=message):
        Predictor(folder)


def test_missing_files_and_unknown_runtimes_are_refused(folder):
    (folder / "student.onnx").unlink()
    with pytest.raises(InputError, match=r"student.onnx cannot be read \(No such file"):
        Predictor(folder, runtime="onnx")
    with pytest.raises(InputError, match="runtime must be one of torch, onnx, got 'tvm'"):
        Predictor(folder, runtime="tvm")


def test_top_k_must_be_positive(exported, video):
    with pytest.raises(InputError, match="top_k must be > 0, got 0"):
        Predictor(exported.folder).predict(video, top_k=0)
