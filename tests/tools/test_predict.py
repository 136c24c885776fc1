import importlib.util
import json
from pathlib import Path

import pytest

from videokd.export import Prediction
from videokd.utils.errors import InputError, VideoError

TOOL = Path(__file__).parents[2] / "tools" / "predict.py"


class FakePredictor:
    """Knows one video, whatever the model."""

    def __init__(self, folder, *, runtime, num_clips):
        self.num_clips = num_clips or 10

    def predict(self, video, top_k):
        if "bad" in video:
            raise VideoError(video, "no video stream")
        return Prediction(video, ("run", "sit")[:top_k], (0.75, 0.25)[:top_k], self.num_clips)


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("predict_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def main(tool, monkeypatch):
    monkeypatch.setattr("videokd.export.Predictor", FakePredictor)
    return lambda *arguments: tool.main(["--model", "m", *arguments])


def test_each_file_is_a_block_with_percentages(main, capsys):
    assert main("a.mp4", "b.mp4") == 0
    block = "{}\n   75.0 %  run\n   25.0 %  sit\n"
    assert capsys.readouterr().out == block.format("a.mp4") + block.format("b.mp4")


def test_a_bad_file_is_named_and_the_others_are_predicted(main, capsys):
    assert main("bad.mp4", "b.mp4", "--top-k", "1") == 1
    printed = capsys.readouterr()
    assert printed.err == "bad.mp4: error: no video stream\n"
    assert printed.out == "b.mp4\n   75.0 %  run\n"


def test_json_is_one_object_per_line(main, capsys):
    assert main("a.mp4", "--json", "--num-clips", "3") == 0
    assert json.loads(capsys.readouterr().out) == {
        "path": "a.mp4",
        "labels": ["run", "sit"],
        "probs": [0.75, 0.25],
        "num_views": 3,
    }


def test_paths_may_start_with_a_dash(main, capsys):
    assert main("--", "-a.mp4") == 0
    assert capsys.readouterr().out.startswith("-a.mp4\n")


def test_a_name_that_is_not_text_is_shown_all_the_same(main, capsys):
    assert main("\udcff.mp4") == 0
    assert ".mp4\n" in capsys.readouterr().out


def test_a_missing_model_is_refused(tool, tmp_path):
    with pytest.raises(InputError, match=r"model\.json cannot be read"):
        tool.main(["--model", str(tmp_path), "a.mp4"])


def test_wrong_numbers_are_refused(main, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        main("a.mp4", "--top-k", "0")
    assert "must be > 0, got 0" in capsys.readouterr().err
