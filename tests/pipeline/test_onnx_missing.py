"""An experiment where the packages of the optional ONNX export are not installed."""

import importlib.util
import logging

import pytest

from videokd.pipeline import experiment
from videokd.pipeline.experiment import run_experiment
from videokd.utils.errors import InputError


@pytest.fixture
def run(make_run, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    return make_run("EXPORT.FORMATS", "['pth', 'onnx']", datasets=("UCF",))


def test_all_stages_leave_it_out_and_say_so_at_the_start(run, monkeypatch, caplog):
    formats, warned = [], []

    def run_stage(run, name):
        warned.append("without ONNX: ONNX needs onnxscript" in caplog.text)
        formats.append(experiment._installed_formats(run))

    monkeypatch.setattr(experiment, "_run_stage", run_stage)
    with caplog.at_level(logging.WARNING, logger="videokd"):
        run_experiment(run)
    assert all(warned)
    assert set(formats) == {("pth",)}


def test_the_export_alone_is_refused(run):
    with pytest.raises(InputError, match=r"ONNX needs onnxscript, .*pip install -e '\.\[onnx\]'"):
        run_experiment(run, "export")
