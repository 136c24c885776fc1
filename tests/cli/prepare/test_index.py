import argparse
import io
import logging
import os
import signal

import pytest
from rich.console import Console

from videokd.cli.prepare import index as command
from videokd.config import load_config
from videokd.curation import examine, survey
from videokd.curation.examine import VideoReport
from videokd.data.build import build_datasets
from videokd.data.lists import build
from videokd.data.lists.records import RecordTable
from videokd.engine.stop import Stopped
from videokd.utils.errors import InputError

NAMES = ["run #1/a_1.avi", "run #1/b_1.avi", "sit [x];&!/c_1.mp4", "sit [x];&!/d_1.mp4"]
NO_INDEX = (
    "cut off or not finished: the index (moov) is missing; copy, download or record the file again"
)


@pytest.fixture(autouse=True)
def probed(monkeypatch):
    """The files that were opened, in this process."""
    paths, pool, probe = [], survey.SupervisedPool, examine.probe_video

    def note(file):
        paths.append(file.name)
        return probe(file)

    def make_pool(function, *, num_workers, **options):
        assert num_workers > 0
        return pool(function, num_workers=0, **options)

    monkeypatch.setattr(examine, "probe_video", note)
    monkeypatch.setattr(survey, "SupervisedPool", make_pool)
    return paths


@pytest.fixture
def do_index(capsys):
    """do_index(*words): run the command; what it printed, on a wide terminal."""

    def run(*words):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        args = parser.parse_args(list(map(str, words)))
        assert command.run(args, Console(width=300)) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def videos(tiny_data, tmp_path):
    """Two classes of two videos in folders with odd names; one video is cut off."""
    avi = sorted(tiny_data.glob("ucf_style/UCF-101/*/*.avi"))
    mp4 = sorted(tiny_data.glob("kinetics_style/train/*/*.mp4"))
    for name, source in zip(NAMES, [*avi[:2], *mp4[:2]], strict=True):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())
    path.write_bytes(path.read_bytes()[:500])
    return tmp_path / "videos"


@pytest.fixture
def config(videos, write_config, tmp_path):
    """config(*overrides): of one dataset of these videos, with DATA.INDEX_DIR."""
    path = write_config(
        ["UCF"],
        DATASETS={"UCF": {"FORMAT": "folder", "ROOT": str(videos)}},
        DATA={"INDEX_DIR": str(tmp_path / "index"), "VAL_FRACTION": 0.0, "MAX_BAD_FRACTION": 0.5},
    )
    return lambda *overrides: load_config(path, [str(word) for word in overrides])


@pytest.fixture
def config_file(config, tmp_path):
    return tmp_path / "config.yaml"


def records_of(cfg):
    parts = build_datasets(cfg)["UCF"]
    return {r.path: r for index in (parts.train, parts.test) for r in index.records}


def test_trainings_know_what_was_found_in_the_files(config, config_file, do_index, caplog):
    do_index("--config-file", config_file)
    with caplog.at_level(logging.WARNING):
        records = records_of(config())
    assert sorted(records) == NAMES
    assert [(r.num_frames, r.fps, r.cause) for _, r in sorted(records.items())] == [
        *[(32, 25.0, "")] * 3,
        (0, 0.0, NO_INDEX),
    ]
    said = [message for message in caplog.messages if NO_INDEX in message]
    assert len(said) == 1
    assert f"listed videos 1 cannot be used ({NAMES[3]}: {NO_INDEX})" in said[0]


def test_the_summary_says_what_there_is(config, config_file, do_index):
    words = do_index("--config-file", config_file)
    (row,) = [line for line in words.splitlines() if "32 / 32 / 32" in line]
    cells = [cell.strip() for cell in row.split("\u2502")[1:-1]]
    assert cells == [
        *("UCF", "4", "0.00", "0.00", "32 / 32 / 32", "25 (3)", "128x96 (3)"),
        *("avi/mpeg4 (2)", "1"),
    ]
    assert "mov/h264 (1)" in words
    assert f"UCF: 1 cannot be used: {NO_INDEX} (first: {NAMES[3]})" in words


def test_unusable_videos_are_listed_in_a_file(config, config_file, do_index, tmp_path):
    do_index("--config-file", config_file)
    text = (tmp_path / "index" / "UCF" / "bad_videos.csv").read_text()
    assert text == f'path,cause\n{NAMES[3]},"{NO_INDEX}"\n'


def test_only_changed_files_are_opened_again(config, config_file, do_index, probed, videos):
    first = do_index("--config-file", config_file)
    assert len(probed) == 4
    assert do_index("--config-file", config_file) == first
    assert len(probed) == 4
    os.utime(videos / NAMES[0], ns=(0, 1))
    do_index("--config-file", config_file)
    assert probed[4:] == [NAMES[0]]


def test_an_index_changes_nothing_but_what_is_known_of_the_files(
    write_config, do_index, tmp_path, monkeypatch
):
    path = write_config(["UCF"], DATA={"INDEX_DIR": str(tmp_path / "index")})
    do_index("--config-file", path)
    plain = build_datasets(load_config(path, ["DATA.INDEX_DIR", ""]))["UCF"]
    monkeypatch.setattr(build, "_read_indexes", None)
    indexed = build_datasets(load_config(path, []))["UCF"]
    for split in ("train", "val", "test"):
        index, expected = indexed.index(split), plain.index(split)
        assert isinstance(index.records, RecordTable)
        assert index.digest() == expected.digest()
        assert [r.path for r in index.records] == [r.path for r in expected.records]
        assert {(r.num_frames, r.fps) for r in index.records} == {(32, 25.0)}
        assert (index.class_names, index.root) == (expected.class_names, expected.root)


def test_a_start_without_an_index_names_the_command(config):
    with pytest.raises(InputError, match="has no index of UCF .*videokd prepare index"):
        build_datasets(config())


def test_changed_lists_need_a_new_index(write_config, do_index, tmp_path, tiny_data):
    lists = tmp_path / "lists"
    lists.mkdir()
    for path in (tiny_data / "ucf_style" / "ucfTrainTestlist").iterdir():
        (lists / path.name).write_bytes(path.read_bytes())
    path = write_config(["UCF"], DATA={"INDEX_DIR": str(tmp_path / "index")})
    words = ["--config-file", path, "DATASETS.UCF.ANNOTATIONS", lists]
    do_index(*words)
    cfg = load_config(path, list(map(str, words[2:])))
    num_videos = len(build_datasets(cfg)["UCF"].test)
    rows = (lists / "testlist01.txt").read_text().splitlines()
    (lists / "testlist01.txt").write_text("\n".join(rows[1:]))
    with pytest.raises(InputError, match="has no index of UCF with these options and lists"):
        build_datasets(cfg)
    do_index(*words)
    assert len(build_datasets(cfg)["UCF"].test) == num_videos - 1


def test_more_unusable_videos_than_allowed_end_a_run_before_it_starts(
    config, config_file, do_index
):
    do_index("--config-file", config_file)
    with pytest.raises(InputError, match=r"1 cannot be used .*MAX_BAD_FRACTION allows 0.4"):
        build_datasets(config("DATA.MAX_BAD_FRACTION", 0.4))


def test_one_dataset_needs_no_config(videos, do_index, tmp_path, config):
    output = tmp_path / "index"
    words = do_index("--root", videos, "--name", "UCF", "--output", output, "--jobs", 2)
    assert f"index: {output}" in words
    # A config of the same dataset finds it.
    assert len(records_of(config())) == 4


def test_a_stopped_scan_goes_on_where_it_was(config, config_file, do_index, probed, monkeypatch):
    probe = examine.probe_video

    def probe_and_stop(file):
        if len(probed) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return probe(file)

    with monkeypatch.context() as patch:
        patch.setattr(examine, "probe_video", probe_and_stop)
        with pytest.raises(Stopped, match="^$"):
            do_index("--config-file", config_file)
    assert len(probed) == 3
    do_index("--config-file", config_file)
    assert len(probed) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "either --config-file FILE or --root DIR"),
        (["--config-file", "a.yaml", "--root", "b"], "either --config-file FILE or --root DIR"),
        (["--root", "a"], "DATA.INDEX_DIR is empty: .* give --output DIR"),
        (["--root", "a", "--jobs", "-1"], "--jobs must be >= 0"),
        (["--root", "a", "--deadline", "0"], "--deadline > 0, got 0 and 0"),
        (["--root", "a", "--format", "b"], "VIDEOS.FORMAT must be one of"),
    ],
)
def test_wrong_words_are_input_errors(do_index, words, message):
    with pytest.raises(InputError, match=message):
        do_index(*words)


@pytest.fixture
def show():
    """show(reports): what is printed of them, through a stream that takes UTF-8 only."""

    def run(reports):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        command.show_summary({"TOY": reports}, Console(file=stream, width=200))
        stream.seek(0)
        return stream.read()

    return run


def row_of(text):
    (row,) = [line for line in text.splitlines() if "TOY \u2502" in line]
    return [cell.strip() for cell in row.split("\u2502")[1:-1]]


def test_numbers_are_over_the_videos_that_can_be_used(show):
    good = {
        f"{n}.mp4": VideoReport(
            "", "", 2**29, frames, 25.0, 48, 64, "mov", "h264", 1800.0, is_counted=n == 0
        )
        for n, frames in enumerate((10, 30, 20))
    }
    text = show({**good, "bad.mp4": VideoReport("corrupt", "empty file", 2**29)})
    assert row_of(text) == [
        *("TOY", "4", "2.00", "1.50", "10 / 20 / 30", "25 (3)", "64x48 (3)", "mov/h264 (3)", "1"),
    ]
    assert "TOY: the frames of 1 videos had to be counted by decoding\n" in text


def test_the_rarer_of_many_rates_are_counted_only(show):
    rates = [29.97003, 25.0, 25.0, 24.0, 24.0, 24.0, 15.0]
    text = show({f"{n}": VideoReport(num_frames=1, fps=fps) for n, fps in enumerate(rates)})
    rows = [line.split("\u2502")[6].strip() for line in text.splitlines() if "\u2502" in line]
    assert rows == ["24 (3)", "25 (2)", "29.97 (1)", "1 others"]


def test_causes_are_counted_each_with_its_first_file_whatever_its_name(show):
    causes = {"[b] \udcff.avi": "hung", "a.avi": "empty file", "c.avi": "hung"}
    text = show({path: VideoReport("corrupt", cause) for path, cause in causes.items()})
    assert "TOY: 2 cannot be used: hung (first: [b] \\udcff.avi)\n" in text
    assert "TOY: 1 cannot be used: empty file (first: a.avi)\n" in text


def test_an_empty_dataset_has_a_row_too(show):
    assert row_of(show({})) == ["TOY", "0", "0.00", "0.00", "-", "-", "-", "-", "0"]
