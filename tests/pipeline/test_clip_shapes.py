"""An experiment whose networks take clips of different shapes."""

import pytest

from videokd.pipeline.dry_run import show_dry_run
from videokd.pipeline.scoring import score_training
from videokd.pipeline.train import run_training
from videokd.utils.io import read_json

OWN_CLIPS = (
    "EXPERTS.UCF.NUM_FRAMES",
    8,
    "EXPERTS.HMDB.CROP_SIZE",
    16,
    "STUDENTS.UCF.NUM_FRAMES",
    2,
)


@pytest.mark.parametrize("teaching", ["consistent", "fixed"])
def test_every_training_cuts_the_clips_of_its_networks_and_of_no_other(make_run, teaching):
    run = make_run(
        *OWN_CLIPS, "DISTILL.TEACHING", teaching, BASELINES=["B1", "B2", "B4", "B5", "B7"]
    )

    def names(folder):
        training = run.plan.find(folder)
        clips = training.task_clips or training.clips
        sides = (
            [training.clips.main, *training.clips.others],
            [clips.main, *clips.others],
            clips.plain,
        )
        return [[spec.name for spec in specs] for specs in sides]

    ucf, hmdb, data, student = "8x4x32", "4x4x16", "4x4x32", "2x4x32"
    experts = [ucf, hmdb, data]

    def taught(own, teachers):
        if teaching == "fixed":
            return [[own], [own], teachers]
        return [[own], [own, *(name for name in teachers if name != own)], []]

    assert names("experts/UCF") == [[ucf], [ucf], []]
    assert names("baselines/B1/UCF") == [[student], [student], []]
    assert names("joint") == names("baselines/B5_teachers/HMDB") == [experts, experts, []]
    for folder in ("students", "baselines/B5", "baselines/B7"):
        assert names(f"{folder}/UCF") == taught(student, experts)
        assert names(f"{folder}/HMDB") == taught(data, experts)
    assert names("baselines/B4/UCF") == taught(student, [ucf])
    assert names("baselines/B4/KINETICS") == taught(data, [data])
    # Students of one shape share a network.
    assert names("baselines/B2/UCF") == [[student], [student], []]
    assert names("baselines/B2/HMDB-KINETICS") == [[data], [data], []]


def test_networks_are_built_for_their_own_clips_and_know_their_names(make_run):
    run = make_run("EXPERTS.HMDB.ARCH", "mvit_v2_s", "EXPERTS.HMDB.DEPTH_FACTOR", 0.1, *OWN_CLIPS)
    builder = run.plan.builder
    assert builder.shapes("EXPERTS", "UCF").levels["stage1"] == (8, 8, 16, 16)
    arguments = builder.architecture("EXPERTS", "HMDB").arguments
    assert (arguments["num_frames"], arguments["crop_size"]) == (4, 16)
    teacher = run.plan.find("joint").build_model()
    clip_names = {name: expert.module.clip_name for name, expert in teacher.experts.items()}
    assert clip_names == {"UCF": "8x4x32", "HMDB": "4x4x16", "KINETICS": "4x4x32"}
    assert teacher.fusion.shapes.levels["stage1"][1:] == (2, 16, 16)


def test_networks_are_shown_at_their_own_clips(make_run, capsys):
    show_dry_run(make_run("EXPERTS.UCF.NUM_FRAMES", 8, "EXPERTS.HMDB.CROP_SIZE", 16))
    shown = " ".join(capsys.readouterr().out.split())
    assert "EXPERTS.UCF r2plus1d_18 │ 8x4x32 │ 8x8x16x16 │" in shown
    assert "EXPERTS.HMDB mc3_18 │ 4x4x16 │ 8x4x8x8 │" in shown
    assert "STUDENTS.UCF r3d_18 │ 4x4x32 │ 8x4x16x16 │" in shown
    for row in ("UCF │ 16x4x8x8 │ 8x2x8x8", "HMDB │ 16x4x4x4 │ 8x2x8x8"):
        assert f"stage2 │ {row}" in shown


@pytest.mark.parametrize("teaching", ["consistent", "fixed"])
def test_networks_of_different_clips_train_teach_and_are_tested(make_run, teaching):
    words = ("SOLVER.MAX_EPOCH", 1, "TRAIN.EVAL_PERIOD", 1, "DISTILL.TEACHING", teaching)
    datasets = ("UCF", "HMDB")
    run = make_run(*OWN_CLIPS, *words, datasets=datasets, BASELINES=["B5"], is_dry=False)
    for training in run.plan.trainings:
        if "HMDB" not in training.folder or training.key == "experts":
            run_training(run, training)
            score_training(run, training)
    for folder in ("joint", "students/UCF", "baselines/B5/UCF"):
        assert read_json(run.folder / folder / "test" / "UCF.json")["num_used"] == 16
