from videokd.pipeline.advice import find_doubts


def test_a_network_that_loses_time_and_a_short_training_are_doubted(make_run):
    run = make_run("EXPERTS.UCF.ARCH", "r3d_18", datasets=("UCF",), BASELINES=[])
    lost, *short = find_doubts(run)
    # Of 4 frames r3d leaves 2 at stage2 and 1 at stage3.
    assert lost.startswith("STUDENTS.UCF: r3d_18 leaves one step of time from stage3 on for clips")
    assert [text.split(":")[0] for text in short] == ["experts/UCF", "students/UCF"]
    assert "2 epochs of" in short[0]
    assert "at least 20 epochs and 200 steps" in short[0]


def test_the_recipe_for_small_data_is_not_doubted(make_run):
    words = ["EXPERTS.UCF.ARCH", "cnn3d_s", "STUDENTS.UCF.ARCH", "cnn3d_s"]
    run = make_run(*words, "SOLVER.MAX_EPOCH", 300, datasets=("UCF",), BASELINES=[])
    assert find_doubts(run) == []


def test_a_student_that_starts_from_its_expert_may_be_short(make_run):
    words = ["EXPERTS.UCF.ARCH", "cnn3d_s", "STUDENTS.UCF.ARCH", "cnn3d_s"]
    words += ["SOLVER.MAX_EPOCH", 300, "DISTILL.MAX_EPOCH", 1]
    random = make_run(*words, datasets=("UCF",), BASELINES=[])
    assert [text.split(":")[0] for text in find_doubts(random)] == ["students/UCF"]
    started = make_run(*words, "DISTILL.INIT", "expert", datasets=("UCF",), BASELINES=[])
    assert find_doubts(started) == []
