"""Experts and students that start from weights of elsewhere, and experts used as they are."""

import pytest
import torch
from safetensors.torch import load_file

from videokd.engine.checkpoint import save_weights
from videokd.pipeline.dry_run import show_dry_run
from videokd.pipeline.experiment import export_training
from videokd.pipeline.scoring import score_training
from videokd.pipeline.train import run_training
from videokd.utils.errors import InputError
from videokd.utils.io import read_json

ONE_EPOCH = ("SOLVER.MAX_EPOCH", 1, "TRAIN.EVAL_PERIOD", 0)
SMALL = {"datasets": ("UCF", "HMDB"), "BASELINES": [], "is_dry": False}


@pytest.fixture
def trained(make_run, tmp_path):
    """The folder of UCF's expert in a run of its own; its architecture is that of no student."""
    run = make_run(*ONE_EPOCH, "OUTPUT_DIR", tmp_path / "before", **SMALL)
    training = run.plan.find("experts/UCF")
    run_training(run, training)
    score_training(run, training)
    return run.plan.path(training)


def _weights(folder):
    return load_file(folder / "model.safetensors")


def _are_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(v, other[n]) for n, v in one.items())


def _train(run, folder):
    training = run.plan.find(folder)
    for needed in training.needs:
        _train(run, needed.folder)
    run_training(run, training)
    return training


def test_a_ready_made_expert_is_kept_as_it_is_and_scored_like_others(make_run, trained):
    run = make_run(*ONE_EPOCH, "EXPERTS.UCF.WEIGHTS", trained, "EXPERTS.UCF.TRAIN", False, **SMALL)
    training = _train(run, "experts/UCF")
    assert training.num_steps == 0
    folder = run.plan.path(training)
    assert _are_equal(_weights(folder), _weights(trained))
    stage = read_json(folder / "training.json")
    assert (stage["is_finished"], stage["num_steps"]) == (True, 0)
    assert not (folder / "metrics.jsonl").exists()
    score_training(run, training)
    before, after = (read_json(path / "test" / "UCF.json") for path in (trained, folder))
    assert {**before, "fingerprint": ""} == {**after, "fingerprint": ""}
    # What is fused on top of it is trained.
    joint = _train(run, "joint")
    inside = run.plan.load_model(joint).experts["UCF"].module.state_dict()
    assert _are_equal(inside, _weights(trained))


def test_a_ready_made_expert_is_put_into_the_datasets_class_order(make_run, trained, relist_ucf):
    words = (*ONE_EPOCH, "EXPERTS.UCF.WEIGHTS", trained, "EXPERTS.UCF.TRAIN", False)
    nodes = {**SMALL, "datasets": ("UCF",)}
    names = read_json(trained / "training.json")["class_names"]["heads.UCF"]
    plain = make_run(*words, **nodes).plan.find("experts/UCF")
    run = make_run(*words, *relist_ucf({name: name for name in reversed(names)}), **nodes)
    training = _train(run, "experts/UCF")
    assert training.fingerprint != plain.fingerprint
    before, after = _weights(trained), _weights(run.plan.path(training))
    for name, value in before.items():
        expected = value.flip(0) if name.startswith("heads.") else value
        assert torch.equal(after[name], expected)
    assert read_json(run.plan.path(training) / "training.json")["class_names"] == {
        "heads.UCF": names[::-1]
    }


def test_other_classes_are_refused_where_a_classifier_is_needed_and_trained_anew_elsewhere(
    make_run, trained, relist_ucf, caplog
):
    names = read_json(trained / "training.json")["class_names"]["heads.UCF"]
    renamed = relist_ucf({name: name.replace("Punch", "Box") for name in names})
    words = (*ONE_EPOCH, "EXPERTS.UCF.WEIGHTS", trained, *renamed)
    nodes = {**SMALL, "datasets": ("UCF",)}
    difference = r"1 of the file's 8 classes \('Punch'\) not in UCF, which has 'Box' instead"
    ready = make_run(*words, "EXPERTS.UCF.TRAIN", False, **nodes)
    with pytest.raises(InputError, match=f"^[^\n]*TRAIN False .*{difference}\n[^\n]*$"):
        _train(ready, "experts/UCF")
    run = make_run(*words, **nodes)
    training = run.plan.find("experts/UCF")
    fresh, model = training.build_model(), training.build_model()
    with caplog.at_level("INFO", logger="videokd"):
        training.load_initial(model)
    assert "as initialised: 1 of the file's 8 classes ('Punch')" in caplog.text
    assert torch.equal(model.heads["UCF"].weight, fresh.heads["UCF"].weight)


def test_an_average_of_weights_leaves_a_ready_made_expert_as_it_is(make_run, trained):
    words = ("EXPERTS.UCF.WEIGHTS", trained, "EXPERTS.UCF.TRAIN", False, "SOLVER.EMA_DECAY", 0.9)
    run = make_run(*ONE_EPOCH, *words, **SMALL)
    training = _train(run, "experts/UCF")
    assert _are_equal(_weights(run.plan.path(training)), _weights(trained))


def test_what_starts_from_weights_does_and_says_so_once(make_run, trained, caplog):
    words = ("EXPERTS.UCF.WEIGHTS", trained, "SOLVER.BASE_LR", 1e-9, "SOLVER.WEIGHT_DECAY", 0.0)
    run = make_run(*ONE_EPOCH, *words, **SMALL)
    with caplog.at_level("INFO", logger="videokd"):
        training = _train(run, "experts/UCF")
        run.plan.load_model(training)
    reports = [text for text in caplog.messages if text.startswith("EXPERTS.UCF: weights ")]
    assert len(reports) == 1
    assert "classifier  " in reports[0]
    found, expected = _weights(run.plan.path(training)), _weights(trained)
    name = "backbone.net.layer4.0.conv1.0.0.weight"
    torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-7)
    assert (run.plan.path(training) / "metrics.jsonl").exists()


def test_a_student_and_its_baselines_start_from_the_same_weights(make_run, trained):
    arch = {"ARCH": "r2plus1d_18", "WIDTH_FACTOR": 0.125, "DEPTH_FACTOR": 0.5}
    students = dict.fromkeys(("UCF", "HMDB"), {**arch, "WEIGHTS": str(trained)})
    baselines = ["B1", "B2", "B3", "B4"]
    run = make_run(**{**SMALL, "BASELINES": baselines, "STUDENTS": students, "is_dry": True})
    expected = _weights(trained)
    name = "backbone.net.stem.0.weight"
    folders = ("students/UCF", "baselines/B1/UCF", "baselines/B2/UCF-HMDB", "baselines/B4/UCF")
    for folder in (*folders, "baselines/B3/UCF-HMDB"):
        training = run.plan.find(folder)
        model = training.build_model()
        training.load_initial(model)
        state = getattr(model, "classifier", model).state_dict()
        assert torch.equal(state[name], expected[name])


def test_another_file_under_the_same_name_is_another_training(make_run, trained):
    words = (*ONE_EPOCH, "EXPERTS.UCF.WEIGHTS", trained, "EXPERTS.UCF.TRAIN", False)
    run = make_run(*words, **SMALL)
    _train(run, "experts/UCF")
    state = _weights(trained)
    state["heads.UCF.bias"] += 1
    save_weights(trained / "model.safetensors", state)
    changed = make_run(*words, **SMALL)
    with pytest.raises(InputError, match=r"another config or other data \(model.WEIGHTS was 'sha2"):
        run_training(changed, changed.plan.find("experts/UCF"))


def test_fingerprints_change_with_weights_and_of_what_starts_from_them_only(make_run, trained):
    plain, loaded, renamed, strict, control = (
        {
            training.folder: training.fingerprint
            for training in make_run(*words, **nodes).plan.trainings
        }
        for words, nodes in [
            ((), {**SMALL, "BASELINES": ["B7"]}),
            (("EXPERTS.UCF.WEIGHTS", trained), {**SMALL, "BASELINES": ["B7"]}),
            (("EXPERTS.UCF.WEIGHTS", trained, "EXPERTS.UCF.WEIGHTS_RENAME", "[['a', 'b']]"), SMALL),
            (("EXPERTS.UCF.WEIGHTS", trained, "EXPERTS.UCF.WEIGHTS_STRICT", False), SMALL),
            (("EXPERTS.UCF.WEIGHTS", trained, "EXPERTS.UCF.TRAIN", False), SMALL),
        ]
    )
    differing = {folder for folder in plain if plain[folder] != loaded[folder]}
    assert differing == {"experts/UCF", "joint", "students/UCF", "students/HMDB"}
    assert renamed["experts/UCF"] != loaded["experts/UCF"]
    assert strict["experts/UCF"] == loaded["experts/UCF"]
    assert control["experts/UCF"] != loaded["experts/UCF"]


def test_a_ready_made_expert_does_not_depend_on_how_others_are_trained(make_run, trained):
    words = ("EXPERTS.UCF.WEIGHTS", trained, "EXPERTS.UCF.TRAIN", False)
    others = ("SEED", 3, "SOLVER.WEIGHT_DECAY", 0.1, "TRAIN.BATCH_SIZE", 4)
    one, other = (
        make_run(*words, *more, **SMALL).plan.find("experts/UCF").fingerprint
        for more in ((), others)
    )
    assert one == other


def test_a_ready_made_expert_needs_a_classifier_for_its_classes(make_run, trained, tmp_path):
    state = {n: v for n, v in _weights(trained).items() if not n.startswith("heads.")}
    save_weights(tmp_path / "a.safetensors", state)
    words = ("EXPERTS.UCF.WEIGHTS", tmp_path / "a.safetensors", "EXPERTS.UCF.TRAIN", False)
    run = make_run(*ONE_EPOCH, *words, **SMALL)
    with pytest.raises(InputError, match="EXPERTS.UCF: TRAIN False needs weights that classify it"):
        run_training(run, run.plan.find("experts/UCF"))
    assert not run.plan.path(run.plan.find("experts/UCF")).exists()


@pytest.mark.parametrize(("is_trained", "level"), [(True, "INFO"), (False, "WARNING")])
def test_a_ready_made_expert_with_changed_kernels_is_warned_of(
    make_run, tmp_path, caplog, is_trained, level
):
    source = make_run(*ONE_EPOCH, "OUTPUT_DIR", tmp_path / "before", **SMALL)
    training = _train(source, "experts/HMDB")  # of mc3_18: most of its kernels see one frame
    weights = ("EXPERTS.HMDB.WEIGHTS", source.plan.path(training), "EXPERTS.HMDB.TRAIN", is_trained)
    run = make_run("EXPERTS.HMDB.ARCH", "r3d_18", *weights, **SMALL)
    training = run.plan.find("experts/HMDB")
    with caplog.at_level("INFO", logger="videokd"):
        training.load_initial(training.build_model())
    assert [record.levelname for record in caplog.records] == [level]
    assert "(inflated)" in caplog.text


def test_weights_of_another_architecture_are_refused_by_the_key(make_run, trained):
    run = make_run(*ONE_EPOCH, "EXPERTS.HMDB.WEIGHTS", trained, **SMALL)
    with pytest.raises(InputError, match=r"EXPERTS.HMDB: weights [\s\S]*not all of mc3_18"):
        run_training(run, run.plan.find("experts/HMDB"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.pth", "EXPERTS.UCF.WEIGHTS: weights nowhere.pth do not exist"),
        ("torchvision:R3D", "EXPERTS.UCF.WEIGHTS: torchvision has no weights 'R3D'"),
    ],
)
def test_weights_that_are_not_there_are_refused_with_the_plan(make_run, source, message):
    with pytest.raises(InputError, match=message):
        make_run("EXPERTS.UCF.WEIGHTS", source)


def test_a_dry_run_downloads_nothing(make_run, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    weights = ("EXPERTS.UCF.WEIGHTS", "torchvision:R2Plus1D_18_Weights.DEFAULT")
    show_dry_run(make_run(*weights, "EXPERTS.UCF.TRAIN", False, datasets=("UCF",), BASELINES=[]))


def test_an_exported_student_is_a_start_and_a_run_of_its_own(make_run, tmp_path):
    run = make_run(*ONE_EPOCH, **{**SMALL, "datasets": ("UCF",)})
    training = _train(run, "students/UCF")
    export_training(run, training, tmp_path / "export", ("safetensors",))
    expert = {"ARCH": "r3d_18", "WIDTH_FACTOR": 0.125, "DEPTH_FACTOR": 0.5, "TRAIN": False}
    experts = {"UCF": {**expert, "WEIGHTS": str(tmp_path / "export")}}
    nodes = {**SMALL, "datasets": ("UCF",), "OUTPUT_DIR": str(tmp_path / "next")}
    again = make_run(*ONE_EPOCH, **{**nodes, "EXPERTS": experts})
    made = _train(again, "experts/UCF")
    assert _are_equal(_weights(again.plan.path(made)), _weights(run.plan.path(training)))
    # Other labels beside the same file are other weights.
    labels = tmp_path / "export" / "labels.txt"
    labels.write_text(labels.read_text().replace("Punch", "Box"))
    other = make_run(*ONE_EPOCH, **{**nodes, "EXPERTS": experts, "OUTPUT_DIR": str(tmp_path / "c")})
    assert other.plan.find("experts/UCF").fingerprint != made.fingerprint
    with pytest.raises(InputError, match=r"classes \('Box'\) not in UCF"):
        _train(other, "experts/UCF")


def test_a_ready_made_expert_of_unnamed_classes_is_warned_of(make_run, trained, tmp_path, caplog):
    save_weights(tmp_path / "a.safetensors", _weights(trained))
    words = ("EXPERTS.UCF.WEIGHTS", tmp_path / "a.safetensors", "EXPERTS.UCF.TRAIN", False)
    training = make_run(*ONE_EPOCH, *words, **SMALL).plan.find("experts/UCF")
    with caplog.at_level("INFO", logger="videokd"):
        training.load_initial(training.build_model())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the file does not name them, so their order is taken to be the dataset's" in caplog.text
