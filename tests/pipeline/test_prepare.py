import os
import signal
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch
from rich.console import Console

from videokd.config import load_config
from videokd.engine.distributed import Ranks
from videokd.engine.stop import Stopped, StopRequest
from videokd.engine.training_file import read_training_file, write_training_file
from videokd.pipeline import datasets
from videokd.pipeline.datasets import generate_synthetic
from videokd.pipeline.experiment import splits_of_stage
from videokd.pipeline.run import open_ranks, open_run_directory, prepare_run
from videokd.utils.errors import InputError
from videokd.utils.ranks import RankInfo


def test_the_chosen_gpu_is_the_current_one_of_a_single_process_too(write_config, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for device in ("cuda:1", "cpu"):
        with open_ranks(load_config(write_config(["UCF"]), ["DEVICE", device])) as ranks:
            assert ranks.is_alone
    assert chosen == [torch.device("cuda:1")]


def test_a_cache_of_features_is_refused_with_several_processes(write_config):
    words = ["DISTILL.CACHE_GIB", "0.5", "DATA.VIEWS_PER_VIDEO", "2", "TRAIN.BATCH_SIZE", "4"]
    cfg = load_config(write_config(["UCF"]), words)
    ranks = Ranks(RankInfo(rank=0, num_ranks=2))
    with pytest.raises(InputError, match="CACHE_GIB 0.5 .* to 2 processes; set it to 0"):
        prepare_run(cfg, Console(), StopRequest(), ranks=ranks)


def test_preparing_writes_nothing_to_the_run_directory(make_run):
    assert not make_run(is_dry=False).folder.exists()


def test_training_and_held_out_parts_read_one_cache(make_run, tiny_data):
    run = make_run(is_dry=False)
    parts = run.datasets["UCF"]
    assert parts.caches["train"] is parts.caches["val"]
    assert len({*parts.train.records, *parts.val.records}) == 24
    for part in ("train", "val", "test"):
        for record in parts.index(part).records:
            assert parts.caches[part].reader(record).num_frames == 32


def test_frames_that_are_not_needed_are_not_decoded_and_weights_are_loaded_all_the_same(
    write_config, tmp_path
):
    words = ["DATA.FRAME_CACHE", str(tmp_path / "cache")]
    cfg = load_config(write_config(["UCF"]), words)
    run = prepare_run(cfg, Console(), StopRequest(), frames_of=())
    assert not (tmp_path / "cache").exists()
    assert run.datasets["UCF"].caches is None
    with pytest.raises(InputError, match="students/UCF is not trained yet"):
        run.plan.load_model(run.plan.find("students/UCF"))


@pytest.mark.parametrize(
    ("part", "decoded"),
    [
        ("all", {"train", "val", "test"}),
        ("students", {"train", "val"}),
        ("test", {"test"}),
        ("export", None),
        ("report", None),
    ],
)
def test_a_part_decodes_the_videos_that_it_reads(write_config, tmp_path, part, decoded):
    words = ["DATA.FRAME_CACHE", str(tmp_path / "cache")]
    cfg = load_config(write_config(["UCF"]), words)
    run = prepare_run(cfg, Console(), StopRequest(), frames_of=splits_of_stage(part))
    caches = run.datasets["UCF"].caches
    assert (None if caches is None else set(caches)) == decoded
    num_files = len(set(decoded or ()) - {"val"})
    assert len([*(tmp_path.glob("cache/*"))]) == num_files


def test_a_run_directory_says_what_it_is_of(make_run):
    run = make_run("SEED", 3)
    open_run_directory(run)
    assert load_config(run.folder / "config.yaml") == run.cfg


def test_the_config_stays_as_the_first_training_was_given_it(make_run, caplog):
    open_run_directory(make_run())
    run = make_run("TEST.NUM_ENSEMBLE_VIEWS", 7)  # nothing is trained yet
    open_run_directory(run)
    training = run.plan.trainings[0]
    write_training_file(
        run.folder / training.folder, read_training_file(run.folder, training.inputs)
    )
    text = (run.folder / "config.yaml").read_text()
    assert load_config(run.folder / "config.yaml").TEST.NUM_ENSEMBLE_VIEWS == 7
    with caplog.at_level("INFO", logger="videokd"):
        open_run_directory(run)
        assert caplog.text == ""
        open_run_directory(make_run("TEST.NUM_ENSEMBLE_VIEWS", 5))
    assert (run.folder / "config.yaml").read_text() == text
    assert "config.yaml: TEST.NUM_ENSEMBLE_VIEWS 5 (there: 7)" in caplog.text
    (run.folder / "config.yaml").write_text("[: no YAML")
    with pytest.raises(InputError, match=r"config.yaml is not plain YAML"):
        open_run_directory(run)


def test_a_run_directory_of_another_config_is_left_as_it_is(make_run):
    run = make_run()
    open_run_directory(run)
    training = run.plan.trainings[0]
    write_training_file(
        run.folder / training.folder, read_training_file(run.folder, training.inputs)
    )
    with pytest.raises(InputError, match=r"experts/UCF holds .*\(SEED was 0, is 1;"):
        open_run_directory(make_run("SEED", 1))
    assert load_config(run.folder / "config.yaml").SEED == 0
    # What no weight depends on may change.
    open_run_directory(make_run("TEST.NUM_ENSEMBLE_VIEWS", 5))


def test_the_trainer_gets_the_threads_that_were_asked_for(make_run):
    torch.set_num_threads(2)
    make_run()
    assert torch.get_num_threads() == 1


def test_a_signal_stops_between_videos_and_the_same_call_goes_on(write_config, tmp_path):
    overrides = ["DATA.FRAME_CACHE", str(tmp_path / "cache")]
    cfg = load_config(write_config(["UCF"]), overrides)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped, match="^$"):
            generate_synthetic(str(tmp_path / "new"), "tiny", Console(), stop)
        assert not (tmp_path / "new" / "manifest.json").exists()
        with pytest.raises(Stopped, match="^$"):
            prepare_run(cfg, Console(), stop)
    run = prepare_run(cfg, Console(), StopRequest())
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert run.datasets["UCF"].caches is not None


@pytest.mark.parametrize(
    ("is_signalled", "expected"), [(True, Stopped), (False, BrokenProcessPool)]
)
def test_processes_that_a_signal_ended_mean_that_the_run_was_stopped(
    monkeypatch, tmp_path, is_signalled, expected
):
    def generate(root, **options):
        if is_signalled:
            os.kill(os.getpid(), signal.SIGTERM)
        raise BrokenProcessPool

    monkeypatch.setattr(datasets, "generate_datasets", generate)
    with StopRequest() as stop, pytest.raises(expected, match="^$"):
        generate_synthetic(str(tmp_path), "tiny", Console(), stop)
