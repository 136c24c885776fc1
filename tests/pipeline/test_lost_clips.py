"""Trainings and tests with videos that kill their worker or make it hang."""

import csv
import random
from collections import Counter
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from videokd.data import build as build_module
from videokd.engine.metrics_log import read_metrics
from videokd.pipeline.scoring import predict_split, score_training
from videokd.pipeline.summary import accuracy_table, write_summary
from videokd.pipeline.train import run_training
from videokd.utils import env
from videokd.utils.io import read_json

WORDS = ("SOLVER.MAX_EPOCH", 3, "TRAIN.EVAL_PERIOD", 0, "DATA.MAX_BAD_FRACTION", 1.0)
WORKERS = ("DATA_LOADER.TIMEOUT_SEC", 2.0, "DATA_LOADER.NUM_WORKERS")
HANG = ("__import__('time').sleep(1000)", "hung for more than 2 s")
DEATHS = [
    ("__import__('os').abort()", "its process died of SIGABRT"),
    ("__import__('ctypes').string_at(0)", "its process died of SIGSEGV"),
    ("__import__('os')._exit(0)", "its process ended with exit code 0"),
    ("bytearray(2 ** 60)", "it needs more memory than there is"),
]


@pytest.fixture
def make_training(make_run, tmp_path):
    """``make_training(name, *overrides)``: a run in its own folder and its joint training."""

    def make(name, *words):
        words = ("OUTPUT_DIR", tmp_path / name, *WORDS, *words)
        run = make_run(*words, is_dry=False, BASELINES=["B2"])
        return run, run.plan.find("baselines/B2/UCF-HMDB-KINETICS")

    return make


# Seed of the videos that are chosen -> workers, and what becomes of them there.
ALWAYS = {0: (1, [HANG, *(3 * DEATHS), *DEATHS[:2]])}
MANY = {1: (1, 4 * [HANG, *DEATHS]), 2: (2, 4 * [HANG, *DEATHS])}


@pytest.mark.parametrize(
    "seed", [*ALWAYS, *(pytest.param(seed, marks=pytest.mark.faults) for seed in MANY)]
)
def test_a_training_goes_on_through_lost_workers(
    make_training, misbehaving, monkeypatch, tell, seed
):
    num_workers, what = {**ALWAYS, **MANY}[seed]
    # This machine may have fewer cores than 2 workers and a trainer need.
    monkeypatch.setattr(env, "num_available_cores", lambda: 3)
    run, training = make_training("deadly", *WORKERS, num_workers)
    videos = [
        (name, r.path) for name in training.trained_on for r in run.datasets[name].train.records
    ]
    chosen = random.Random(seed).sample(videos, len(what))
    fates = dict(zip(chosen, what, strict=True))
    deaths = {path: expression for (_, path), (expression, _) in fates.items()}
    deadly = partial(misbehaving.DeadlyClips, deaths=deaths)
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "ClipDataset", deadly)
        run_training(run, training)

    with (run.plan.path(training) / "bad_videos.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["dataset"], row["path"]): row["cause"] for row in rows}
    assert len(rows) == len(what)
    assert found == {video: cause for video, (_, cause) in fates.items()}
    assert {int(row["step"]) for row in rows} <= set(range(1, training.num_steps_per_epoch + 1))
    assert read_metrics(run.plan.path(training) / "metrics.jsonl")[-1]["bad_videos"] == len(what)

    # The others were trained on as if the lost had been known for what they are.
    known, same_training = make_training("known")
    for (name, path), (_, cause) in fates.items():
        known.datasets[name].losses[path] = [cause, cause]
    run_training(known, same_training)
    weights, expected = (
        load_file(r.plan.path(u) / "model.safetensors")
        for r, u in ((run, training), (known, same_training))
    )
    assert weights.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in weights.items())
    kinds = Counter(cause for _, cause in what)
    tell(f"worker deaths, {num_workers} at work: {len(what)}, each cost one video and is listed")
    tell("  " + ", ".join(f"{cause}: {num}" for cause, num in kinds.items()))


def test_a_test_says_on_how_many_videos_it_is_and_names_the_others(make_training, caplog):
    run, training = make_training("test")
    run_training(run, training)
    video = run.datasets["HMDB"].test.records[2].path
    run.datasets["HMDB"].losses[video] = ["hung for more than 2 s"] * 2
    score_training(run, training)
    result = read_json(run.plan.path(training) / "test" / "HMDB.json")
    num_videos = len(run.datasets["HMDB"].test)
    assert (result["num_used"], result["num_videos"]) == (num_videos - 1, num_videos)
    assert result["bad"] == [{"path": video, "cause": "hung for more than 2 s"}]
    assert f"HMDB test: left out {video}: hung for more than 2 s" in caplog.text
    table = accuracy_table(write_summary(run))
    assert table.caption == f"HMDB: scored on {num_videos - 1} of {num_videos} listed videos"
    # And so does a test of a model that nothing is written about.
    model = run.plan.load_model(training)
    assert len(predict_split(run, training, model, "HMDB").labels) == num_videos - 1
