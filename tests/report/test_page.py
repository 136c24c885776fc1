import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest

from videokd.report import figures
from videokd.report.page import write_report
from videokd.report.results import (
    Scored,
    compare_students,
    make_rows,
    read_scores,
    top_confusions,
    wilson_interval,
)
from videokd.utils.errors import InputError

CLASSES = {"UCF": ["<jump>", "run & hide", "sit $5$"], "HMDB": ["climb", "wave"]}
KEYS = {"experts": "Experts (T_i)", "B1": "B1 alone", "joint": "Joint <T*>", "students": "Students"}
NUM_VIDEOS = 12


def folder_of(key, dataset):
    return "joint" if key == "joint" else f"{'experts' if key == 'B1' else key}/{dataset}"


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_video(path, number):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for t in range(15):
            pixels = np.full((48, 64, 3), 40 + 15 * number, np.uint8)
            pixels[10:30, 3 * t : 3 * t + 15] = (250, 120, 10)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def write_log(path, terms, datasets):
    lines = []
    for step in range(10, 1010, 10):
        values = dict.fromkeys(("loss", *terms), 3.0 / (1 + step / 100))
        values |= {"top1": step / 12, "bad_videos": 1, "skipped_steps": step // 500}
        lines.append({"step": step, "lr": 0.1, "data_wait": 0.1, **values})
        if step % 200 == 0:
            lines.append({"step": step, **{f"val_top1_{name}": step / 15 for name in datasets}})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_test(folder, dataset, seed, root):
    """Scores of which some are right and some are wrong."""
    rng = np.random.default_rng(seed)
    names = CLASSES[dataset]
    labels = np.arange(NUM_VIDEOS) % len(names)
    logits = rng.normal(0, 1.2, (NUM_VIDEOS, 3, len(names))).astype(np.float32)
    logits[np.arange(NUM_VIDEOS), :, labels] += 1.0
    result = {
        "dataset": dataset,
        "num_videos": NUM_VIDEOS + 1,
        "num_used": NUM_VIDEOS,
        "num_missing": 2,
        "bad": [{"path": "v_bad.avi", "cause": "no video stream"}],
        "num_clips": 1,
        "num_crops": 3,
        "clip_rule": "segment_centres",
        "class_names": names,
        "root": str(root),
    }
    write_json(folder / "test" / f"{dataset}.json", result)
    np.savez(
        folder / "test" / f"{dataset}.npz",
        logits=logits,
        labels=labels,
        record_ids=np.arange(NUM_VIDEOS),
        paths=np.array([f"v{i}.mp4" for i in range(NUM_VIDEOS)]),
    )


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work") / "my run"
    videos = tmp_path_factory.mktemp("videos")
    for number in range(NUM_VIDEOS):
        write_video(videos / f"v{number}.mp4", number)
    (videos / "v3.mp4").unlink()
    models = []
    for seed, (key, title) in enumerate(KEYS.items()):
        folders = {name: folder_of(key, name) for name in CLASSES}
        for name, sub in folders.items():
            write_test(folder / sub, name, seed, videos)
            write_log(
                folder / sub / "metrics.jsonl",
                ["kd", "ce"] if key == "students" else [],
                list(CLASSES) if key == "joint" else [name],
            )
        top1 = {name: 60.0 + 5 * seed + len(name) for name in CLASSES}
        models.append(
            {
                "key": key,
                "title": title,
                "top1": top1,
                "top5": dict.fromkeys(CLASSES, 100.0),
                "mean_class": top1,
                "num_videos": dict.fromkeys(CLASSES, NUM_VIDEOS),
                "folders": folders,
            }
        )
    stages = [
        {"name": "joint", "seconds": 41.25, "num_steps": 1000, "num_parameters": 1234567},
        {"name": "students/UCF", "seconds": 8.75, "num_steps": 1000, "num_parameters": 7},
    ]
    for stage, python in zip(stages, ("3.11", "3.12"), strict=True):
        stage["peak_memory_gib"] = {"host": 1.25}
        environment = {"python": python, "versions": {"torch": "2.14.1"}}
        call = {"command": "python train.py", "environment": environment, "overrides": {}}
        write_json(folder / stage["name"] / "training.json", {"calls": [call]})
    summary = {"datasets": list(CLASSES), "models": models, "trainings": stages}
    write_json(folder / "results.json", summary)
    (folder / "config.yaml").write_text("SEED: 0\nOUTPUT_DIR: <runs>\n")
    return folder


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy that may be changed."""
    ignored = shutil.ignore_patterns("report.html")
    return shutil.copytree(finished_run, tmp_path / "run", ignore=ignored)


@pytest.fixture(scope="session")
def page(finished_run):
    return write_report(finished_run).read_text()


class Outline(HTMLParser):
    """Collects tags with their attributes, and checks that tags that must be closed are."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "path", "use"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in ("path", "use"):
            assert self.open.pop() == tag


def test_page_is_well_formed_and_needs_no_network(page):
    outline = Outline(page)
    assert outline.open == []
    for tag, attributes in outline.tags:
        assert tag not in ("script", "link", "iframe")
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_page_is_small(page):
    assert len(page) < 1_000_000


def test_ids_of_the_page_are_unique(page):
    ids = [attributes["id"] for _, attributes in Outline(page).tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_names_are_escaped(page):
    assert "<jump>" not in page
    assert "&lt;jump&gt;" in page
    assert "Joint &lt;T*&gt;" in page
    assert "OUTPUT_DIR: &lt;runs&gt;" in page


def test_page_shows_accuracy_times_and_environment(page):
    assert re.search(r'class="best">\s*78.0', page)
    assert "1,234,567" in page
    assert "50.0" in page  # 41.25 + 8.75 seconds
    assert "<td>1.25</td><td>-</td>" in page
    assert "<td>versions.torch</td><td>2.14.1</td>" in page
    assert "<td>python</td><td>3.11 (joint); 3.12 (students/UCF)</td>" in page
    assert "<td>command</td><td>python train.py</td>" in page


def test_videos_that_cannot_be_shown_are_named_with_the_cause(page):
    assert page.count("data:image/webp;base64,") >= 10
    assert "no picture: No such file or directory" in page
    assert "1 of the videos could not be read" in page


def test_logged_terms_are_drawn_for_students_only(page):
    assert page.count("logged terms:") == 2


def test_figures_take_the_colour_of_the_page(page):
    assert "currentColor" in page
    assert "#123456" not in page


def test_report_is_the_same_when_made_again(finished_run, page):
    assert write_report(finished_run).read_text() == page


def test_output_may_lie_elsewhere(run, tmp_path):
    target = tmp_path / "new" / "page.html"
    assert write_report(run, target) == target
    assert target.stat().st_size > 0
    assert not (run / "report.html").exists()


def test_what_is_missing_is_said_on_the_page(run, page):
    messages = (
        "has no training.json",
        "has no config.yaml",
        "student of this dataset has not been tested yet",
    )
    assert not any(message in page for message in messages)
    for path in run.rglob("training.json"):
        path.unlink()
    (run / "config.yaml").unlink()
    shutil.rmtree(run / "students/HMDB/test")
    text = write_report(run).read_text()
    assert all(message in text for message in messages)


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    (tmp_path / "config.yaml").write_text("SEED: 0\n")
    text = write_report(tmp_path).read_text()
    assert "No model has been tested yet" in text
    assert "There are no training logs" in text


def test_trainings_without_results_are_drawn(run):
    (run / "results.json").unlink()
    text = write_report(run).read_text()
    assert re.findall(r"<h3>([a-z/]+)</h3>", text) == ["experts", "joint", "students"]
    assert "No model has been tested yet" in text


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a run directory: no config.yaml"):
        write_report(tmp_path)


def test_wilson_interval_of_8_of_10_is_that_of_the_formula():
    # (0.8 + 0.19207 -+ 1.95996 * sqrt(0.016 + 0.0096036)) / 1.384146
    assert wilson_interval(80.0, 10) == pytest.approx((49.02, 94.33), abs=0.01)


def test_wilson_interval_stays_between_0_and_100():
    low, high = wilson_interval(100.0, 5)
    assert 50 < low < 100
    assert high == 100.0
    assert wilson_interval(0.0, 5) == pytest.approx((0.0, 100 - low))


def test_rows_mark_the_best_of_each_column_and_average_whole_rows_only():
    models = [
        {"title": "a", "top1": {"X": 50.0, "Y": 70.0}, "num_videos": {"X": 10, "Y": 10}},
        {"title": "b", "top1": {"X": 60.0}, "num_videos": {"X": 10}},
        {"title": "untested", "top1": {}, "num_videos": {}},
    ]
    a, b = make_rows({"datasets": ["X", "Y"], "models": models}, "top1")
    assert [cell.value for cell in a.cells] == [50.0, 70.0, 60.0]
    assert [cell.value for cell in b.cells] == [60.0, None, None]
    assert [cell.is_best for cell in a.cells] == [False, True, True]
    assert [cell.is_best for cell in b.cells] == [True, False, False]


def test_students_are_compared_dataset_by_dataset():
    models = [
        {"key": "B1", "title": "alone", "top1": {"X": 50.0, "Y": 70.0}},
        {"key": "B2", "title": "untested", "top1": {}},
        {"key": "students", "title": "ours", "top1": {"X": 52.5, "Y": 69.0}},
    ]
    (row,) = compare_students({"datasets": ["X", "Y"], "models": models})
    assert row.title == "alone"
    assert [cell.value for cell in row.cells] == [2.5, -1.0, 0.75]


def test_confusions_count_the_mistakes_of_a_label(run):
    scored = read_scores(run / "students/UCF", "UCF")
    mistakes = top_confusions(scored, 10)
    assert sum(count for _, _, count, _ in mistakes) == (scored.predicted != scored.labels).sum()
    assert all(size == NUM_VIDEOS / 3 for *_, size in mistakes)


def test_damaged_predictions_count_as_missing(run):
    (run / "students/UCF/test/UCF.npz").write_bytes(b"PK")
    assert read_scores(run / "students/UCF", "UCF") is None


def colors_of(figure):
    """The colors of the lines and dots of an SVG, in the order of drawing; text left out."""
    return re.findall(r"stroke: (#[0-9a-f]{6}|currentColor)(?=[^>]*stroke-width: 1\.6)", figure)


def test_a_dataset_has_one_color_in_every_figure():
    # Names that sort the other way round than the page lists them.
    colors = figures.dataset_colors(["UCF", "HMDB", "KINETICS"])
    assert len(set(colors.values())) == 3
    lines = {
        name: [{"step": n, "loss": 1.0, "top1": n, f"val_top1_{name}": n} for n in range(3)]
        for name in colors
    }
    together = [
        {k: v for line in same for k, v in line.items()}
        for same in zip(*lines.values(), strict=True)
    ]
    for logs in (lines, dict(reversed(lines.items())), {"UCF": lines["UCF"]}):
        found = colors_of(figures.draw_curves(logs, colors, "x"))
        wanted = [colors[name] for name in logs]
        assert [c for c in found if c in colors.values()][: len(wanted)] == wanted
        assert set(found) & set(colors.values()) == set(wanted)
    found = colors_of(figures.draw_curves({"joint": together}, colors, "x"))
    assert [c for c in found if c != "currentColor"][:3] == [colors[n] for n in sorted(colors)]
    terms = [{"step": n, "ce_UCF": 1.0, "ce_HMDB": 1.0, "kd": 1.0, "feat": 1.0} for n in range(3)]
    found = colors_of(figures.draw_terms({"joint": terms}, colors, "x"))
    assert found[:2] == [colors["HMDB"], colors["UCF"]]
    assert colors["KINETICS"] not in found
    one = {"e": Scored(("a", "b"), np.eye(2), np.arange(2), ("x", "y"), Path())}
    pictures = {c: figures.draw_confusions(one, c, "x") for c in colors.values()}
    assert len(set(pictures.values())) == 3
