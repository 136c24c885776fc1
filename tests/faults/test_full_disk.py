"""A disk that is full, or a file too big, at named points of a training.

The training ends with one line that names the file and how much is free; all checkpoints of before
are whole; nothing half-written is left; and with room again it ends as one that was not disturbed.
"""

import re

import pytest
from experiment import TRAINING, choose

from videokd.engine.checkpoint import find_damage
from videokd.utils.io import read_json

# Every write that waits for the disk, and every rename, below the training's folder.
WRITES = rf"(sync|rename) {TRAINING}(/.*)?"
CHECKPOINT = rf"(sync|rename) {TRAINING}/checkpoints/step-[3-8].*"
END = rf"(sync|rename) {TRAINING}/model\.safetensors(\.tmp)?"
MESSAGE = (
    r"error: {} cannot be written: [^\n]+ \(\d+\.\d\d GiB free there\); mend that and run the "
    r"same command again to go on from the last checkpoint\n"
)


def fail_and_resume(experiment, expected, name, cause, **what):
    """Fail one write and those after it, look at what is left, then let the training go on."""
    code, _ = experiment.train(name, **what)
    assert code == 1, (what, experiment.errors)
    training = experiment.folder / name / TRAINING
    assert re.fullmatch(MESSAGE.format(f"{re.escape(str(training))}[^ ]*"), experiment.errors)
    assert cause in experiment.errors
    left = sorted(training.glob("checkpoints/*"))
    assert [find_damage(path) for path in left] == [None] * len(left)
    assert not [path for path in training.rglob("*") if path.name.endswith(".tmp")]
    assert not list(training.rglob(".*"))
    if (training / "training.json").exists() and read_json(training / "training.json")[
        "is_finished"
    ]:
        assert (training / "model.safetensors").exists()
    assert experiment.train(name)[0] == 0, (what, experiment.errors)
    assert experiment.outcome(name) == expected, what
    return len(left)


def run_full_disks(experiment, tell, nums, limits):
    code, points = experiment.train("whole")
    assert code == 0, experiment.errors
    expected = experiment.outcome("whole")
    chosen = [
        point
        for seed, (pattern, num) in enumerate(zip((CHECKPOINT, END, WRITES), nums, strict=True))
        for point in choose(points, pattern, num, seed=seed)
    ]
    for i, point in enumerate(chosen):
        what = {"action": "disk full", "point": point}
        num_left = fail_and_resume(experiment, expected, f"full{i}", "No space left", **what)
        if re.fullmatch(CHECKPOINT, point[0]):
            assert num_left >= 2, point
    for i, limit in enumerate(limits):
        what = {"action": "size limit", "point": ("step", 3), "value": limit}
        assert fail_and_resume(experiment, expected, f"big{i}", "", **what) >= 2
    tell(
        f"failed writes: {len(chosen)} on a full disk, {len(limits)} of files too big; in all "
        "the checkpoints of before are whole and the training went on"
    )


def test_a_full_disk_leaves_the_checkpoints_of_before(experiment, tell):
    run_full_disks(experiment, tell, (1, 1, 0), (0,))


@pytest.mark.faults
def test_full_disks_at_many_writes_leave_the_checkpoints_of_before(experiment, tell):
    run_full_disks(experiment, tell, (7, 2, 5), (0, 500, 2_000, 10_000, 30_000, 100_000))
