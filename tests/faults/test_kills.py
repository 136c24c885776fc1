"""kill -9 at named points of a training, of its frame cache and of an index: nothing is lost.

Every killed run is started again, with 0, 1 or 2 workers; its log, its weights and the
names of its files are then those of a run that nobody disturbed, bit for bit.
"""

import pytest
from experiment import TRAINING, choose

# What the kill interrupts -> the points there, how many of them always and in the whole suite.
POINTS = {
    "a step": (r"(after )?step", 0, 8),
    "an evaluation": (r"evaluation", 1, 4),
    "a file of a checkpoint": (r".*/step-\d+\.tmp/.*", 1, 8),
    "the naming of a checkpoint": (
        r"(after )?(sync|rename) .*/(step-\d+(\.tmp)?|checkpoints)",
        1,
        5,
    ),
    "the deletion of a checkpoint": (r"delete .*/step-\d+/.*", 1, 4),
    "the end of the stage": (rf".* {TRAINING}/(model\.safetensors(\.tmp)?|training\.json)", 0, 4),
}
# In the middle of what one line of the log says; and with checkpoints that nobody needs any more.
ALWAYS = (("step", 5), (f"after rename {TRAINING}/training.json", 1))
PREPARING = {"the frame cache": (r".* frames/.*", 4), "the index": (r".* index/.*", 5)}


def kill_and_resume(experiment, points, expected, workers):
    """Kill a training at each point, start it again with other workers, compare."""
    for i, point in enumerate(points):
        name = f"killed{i}"
        assert experiment.train(name, action="kill", point=point)[0] == -9, point
        num_workers = workers[i % len(workers)]
        code, _ = experiment.train(name, "DATA_LOADER.NUM_WORKERS", num_workers)
        assert code == 0, (point, experiment.errors)
        assert experiment.outcome(name) == expected, point
        assert not list((experiment.folder / name).rglob(".*")), point
        if point[0] == "step":
            # A checkpoint is due at every step; the one before was whole when the last began.
            assert max(experiment.resumed_at(name), default=0) >= point[1] - 1


def run_kills(experiment, tell, column, workers):
    code, points = experiment.train("whole")
    assert code == 0, experiment.errors
    expected = experiment.outcome("whole")
    assert [line["step"] for line in expected[0] if "loss" in line] == [3, 6, 8]
    assert not list((experiment.folder / "whole").rglob(".*"))
    chosen = [
        point
        for seed, (pattern, *nums) in enumerate(POINTS.values())
        for point in choose(points, pattern, nums[column], seed=seed)
    ]
    chosen = [*ALWAYS, *chosen]
    kill_and_resume(experiment, chosen, expected, workers)
    tell(f"kill -9: {len(chosen)} trainings killed, {len(chosen)} ended as if they had not been")


def test_a_training_killed_anywhere_ends_as_if_it_had_not_been(experiment, tell):
    run_kills(experiment, tell, 0, (2, 0, 0, 0, 0, 0))


@pytest.mark.faults
def test_trainings_killed_at_many_points_end_as_if_they_had_not_been(experiment, tell):
    run_kills(experiment, tell, 1, (0, 1, 2))


@pytest.mark.faults
def test_a_kill_while_frames_are_cached_costs_nothing_but_time(experiment, tell):
    pattern, num = PREPARING["the frame cache"]
    code, points = experiment.train(
        "whole", "DATA.FRAME_CACHE", experiment.folder / "frames", watched=experiment.folder
    )
    assert code == 0, experiment.errors
    expected = experiment.outcome("whole")
    for i, point in enumerate(choose(points, pattern, num, seed=0)):
        place = experiment.folder / f"cache{i}"
        words = ("DATA.FRAME_CACHE", place / "frames")
        code, _ = experiment.train(f"killed{i}", *words, watched=place, action="kill", point=point)
        assert code == -9, point
        code, _ = experiment.train(f"killed{i}", *words)
        assert code == 0, (point, experiment.errors)
        assert experiment.outcome(f"killed{i}") == expected, point
        assert not list(place.rglob(".*")), point
    tell(f"kill -9: {num} runs killed while frames were cached, {num} ended as if they had not")


@pytest.mark.faults
def test_a_kill_while_an_index_is_made_costs_nothing_but_time(experiment, tell):
    pattern, num = PREPARING["the index"]
    code, points = experiment.index("whole")
    assert code == 0, experiment.errors
    expected = experiment.indexed("whole")
    for i, point in enumerate(choose(points, pattern, num, seed=0)):
        assert experiment.index(f"killed{i}", action="kill", point=point)[0] == -9, point
        assert experiment.index(f"killed{i}")[0] == 0, (point, experiment.errors)
        assert experiment.indexed(f"killed{i}") == expected, point
        assert not list((experiment.folder / f"killed{i}").rglob(".*")), point
    tell(f"kill -9: {num} indexings killed, {num} ended as if they had not been")
