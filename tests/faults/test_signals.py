"""Signals that ask a run to stop: it does within seconds, and says that it can go on.

SIGTERM comes to the one process, as from a container that is stopped; SIGINT and SIGUSR1 to all
that it started too, as from a terminal and from a batch system. Each run is started again, with
other workers, and ends as one that nobody disturbed, bit for bit.
"""

import signal

import pytest
from experiment import choose

from videokd.engine.stop import EXIT_STOPPED

LIMIT_SEC = 20
ACTIONS = {
    signal.SIGTERM: "signal",
    signal.SIGINT: "signal all",
    signal.SIGUSR1: "signal all",
}
# Where it comes -> the points there.
TRAINING = {
    "a step": r"(after )?step",
    "an evaluation": r"evaluation",
    "the writing of a checkpoint": r"(sync|rename) .*/step-\d+\.tmp.*|rename .*/step-\d+",
}


@pytest.fixture
def held(tell, count_held):
    """Takes the seconds from a signal to the end of its run, for each that held."""
    seconds = []
    yield seconds
    for _ in seconds:
        count_held(f"signals: runs that stopped with exit code {EXIT_STOPPED} and went on")
    if seconds:
        tell(f"signals: stopped within {max(seconds):.1f} s")


def check_stopped(experiment, number, code, points, point):
    """Look at the end of a run that was signalled: exit code, time, and what it still began.

    Returns:
        Seconds from the signal to the end.
    """
    case = signal.Signals(number).name, point
    assert code == EXIT_STOPPED, (case, experiment.errors)
    assert "stopped; run the same command again" in experiment.errors, case
    assert 0 < experiment.seconds < LIMIT_SEC, case
    rest = [name for name, _ in points[points.index(point) + 1 :]]
    # What is under way may end, and one more may begin before the signal is seen.
    assert rest.count("step") <= 1, case
    assert rest.count("evaluation") <= 1, case
    return experiment.seconds


def stop_and_resume(experiment, held, cases):
    """Signal one training per (place, signal, workers afterwards), let it go on, compare."""
    code, points = experiment.train("whole")
    assert code == 0, experiment.errors
    expected = experiment.outcome("whole")
    for place, number, num_workers in cases:
        (point,) = choose(points, TRAINING[place], 1, seed=int(number))
        name, what = f"{place}{int(number)}", {"action": ACTIONS[number], "value": int(number)}
        code, seen = experiment.train(name, point=point, **what)
        seconds = check_stopped(experiment, number, code, seen, point)
        code, _ = experiment.train(name, "DATA_LOADER.NUM_WORKERS", num_workers)
        assert code == 0, (place, number, experiment.errors)
        assert experiment.outcome(name) == expected, (place, number)
        held.append(seconds)


def test_a_training_that_is_signalled_ends_as_if_it_had_not_been(experiment, held):
    cases = [("a step", signal.SIGUSR1, 0), ("an evaluation", signal.SIGTERM, 0)]
    stop_and_resume(experiment, held, cases)


@pytest.mark.faults
@pytest.mark.parametrize("place", TRAINING)
def test_trainings_that_are_signalled_end_as_if_they_had_not_been(experiment, held, place):
    stop_and_resume(experiment, held, [(place, number, i) for i, number in enumerate(ACTIONS)])


@pytest.mark.faults
@pytest.mark.parametrize("number", ACTIONS)
def test_a_signal_while_videos_are_generated_costs_little(experiment, held, tiny_data, number):
    code, _ = experiment.train("whole")
    assert code == 0, experiment.errors
    root, point = experiment.folder / "data", ("progress", 0)
    words = [
        "SYNTHETIC.ROOT",
        root,
        "SYNTHETIC.PROFILE",
        "tiny",
        "DATA.FRAME_CACHE",
        root / "frames",
    ]
    words += ["DATASETS.UCF.ROOT", root / "ucf_style/UCF-101"]
    words += ["DATASETS.UCF.ANNOTATIONS", root / "ucf_style/ucfTrainTestlist"]
    what = {"action": ACTIONS[number], "value": int(number), "point": point}
    code, points = experiment.train("stopped", *words, **what)
    seconds = check_stopped(experiment, number, code, points, point)
    made = {path.relative_to(root): path.read_bytes() for path in root.rglob("*.avi")}
    assert made
    code, _ = experiment.train("stopped", *words)
    assert code == 0, experiment.errors
    lines, stage, *rest = experiment.outcome("stopped")
    assert stage["inputs"].pop("generator") is not None  # the other's data were there before
    assert (lines, stage, *rest) == experiment.outcome("whole")
    files = [path.relative_to(tiny_data) for path in tiny_data.rglob("*_style/**/*.*")]
    assert len(files) > len(made)
    assert all((root / f).read_bytes() == (tiny_data / f).read_bytes() for f in files)
    held.append(seconds)


@pytest.mark.faults
@pytest.mark.parametrize("number", ACTIONS)
def test_a_signal_while_frames_are_decoded_ahead_costs_little(experiment, held, number):
    code, points = experiment.train("whole", "DATA.FRAME_CACHE", experiment.folder / "all")
    assert code == 0, experiment.errors
    # The bar moves for each of 48 videos as it is measured and again as it is decoded.
    (point,) = choose(points[:90], "progress", 1, seed=int(number))
    words = ("DATA.FRAME_CACHE", experiment.folder / "frames")
    what = {"action": ACTIONS[number], "value": int(number), "point": point}
    code, points = experiment.train("stopped", *words, **what)
    seconds = check_stopped(experiment, number, code, points, point)
    # What workers are decoding may still be counted; nothing else begins.
    rest = points[points.index(point) + 1 :]
    assert {name for name, _ in rest} <= {"progress"}
    assert len(rest) <= 3
    assert not list((experiment.folder / "frames").rglob("*.tmp"))
    code, _ = experiment.train("stopped", *words)
    assert code == 0, experiment.errors
    assert experiment.outcome("stopped") == experiment.outcome("whole")
    held.append(seconds)


@pytest.mark.faults
@pytest.mark.parametrize("number", ACTIONS)
def test_a_signal_while_videos_are_indexed_costs_little(experiment, held, number):
    code, points = experiment.index("whole")
    assert code == 0, experiment.errors
    (point,) = choose(points, "progress", 1, seed=int(number))
    what = {"action": ACTIONS[number], "value": int(number), "point": point}
    code, points = experiment.index("stopped", **what)
    seconds = check_stopped(experiment, number, code, points, point)
    assert experiment.index("stopped")[0] == 0, experiment.errors
    assert experiment.indexed("stopped") == experiment.indexed("whole")
    held.append(seconds)
