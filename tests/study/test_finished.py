import pytest

from videokd.engine.training_file import read_training_file, write_training_file
from videokd.pipeline.scoring import score_fingerprint
from videokd.study.comparisons import read_outcomes
from videokd.study.finished import Finished
from videokd.utils.errors import InputError


@pytest.fixture
def study(plan_study):
    return plan_study({"mlfd": {"ROW": "experts"}}, datasets=["UCF", "HMDB"])


def _finish(study):
    for job in study.jobs:
        record = read_training_file(job.folder, job.training.inputs)
        job.folder.mkdir(parents=True, exist_ok=True)
        write_training_file(job.folder, {**record, "seconds": 5.0, "is_finished": True})


def test_what_is_written_is_read_again_and_tells_the_same_outcomes(study, score, tmp_path):
    path = tmp_path / "out" / "finished.json"
    score(study, "mlfd", "test", right=3)
    _finish(study)
    before = study.collect(Finished(), "test")
    before.write(path)
    after = Finished.read(path)
    assert after == before
    run, training = study.runs["mlfd", 0], study.jobs[0].training
    answers = after.scores[score_fingerprint(run, training, "UCF", "test")]
    assert answers == "111" + "0" * (len(run.datasets["UCF"].test) - 3)
    outcome = read_outcomes(study, "test", after)["mlfd", 0]["UCF"]
    assert outcome.is_right.sum() == 3
    assert after.has(run, training, "test", is_shown=True)
    assert not after.has(run, training, "val", is_shown=True)


def test_a_video_that_was_not_read_is_in_no_outcome(study, score):
    score(study, "mlfd", "test", right=3)
    _finish(study)
    finished = study.collect(Finished(), "test")
    run, training = study.runs["mlfd", 0], study.jobs[0].training
    key = score_fingerprint(run, training, "UCF", "test")
    finished.scores[key] = "1-" + finished.scores[key][2:]
    outcome = read_outcomes(study, "test", finished)["mlfd", 0]["UCF"]
    records = run.datasets["UCF"].test.records
    assert outcome.is_right.tolist()[:3] == [True, True, False]
    assert outcome.videos == tuple(r.path for i, r in enumerate(records) if i != 1)


def test_without_a_file_nothing_is_known(tmp_path):
    assert Finished.read(tmp_path / "finished.json") == Finished({}, {})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"trainings": {}}', '{"trainings": 1, "scores": {}}']
)
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "finished.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"finished\.json is not a record .* delete it"):
        Finished.read(path)
