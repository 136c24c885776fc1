import csv
import re
from collections import Counter, defaultdict

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from videokd.synthetic import PROFILES, generate, generate_datasets, render_clip
from videokd.synthetic.layout import list_annotations, list_clips
from videokd.synthetic.profiles import (
    DATASET_CLASSES,
    NUM_SPLITS,
    TEST,
    TRAIN,
    UNUSED,
    GroupCounts,
    Profile,
)
from videokd.utils.errors import InputError
from videokd.utils.io import read_json, write_json

HMDB_NAME = re.compile(r"^(.+)_([fluhr]+)_(cm|nm)_np(\d+)_(fr|ba|le|ri)_(goo|med|bad)_(\d+)\.avi$")


@pytest.fixture
def micro_profile(monkeypatch):
    """56 clips: one training and one test group everywhere."""
    counts = GroupCounts(num_train=1, num_test=1)
    monkeypatch.setitem(PROFILES, "micro", Profile(counts, counts, counts))
    return "micro"


@pytest.fixture
def fake_clips(monkeypatch):
    """Write empty files instead of videos; tests of the bookkeeping need no pixels."""

    def touch(root, clips):
        for clip in clips:
            (root / clip.path).parent.mkdir(parents=True, exist_ok=True)
            (root / clip.path).touch()
        return len(clips)

    monkeypatch.setattr(generate, "_make_chunk", touch)


def decode(path):
    """Return the decoded frames, the name of the codec and its tag."""
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        return list(container.decode(video=0)), codec.name, codec.codec_tag


def ucf_split(annotations, split):
    """Return the (class, group) pairs of the training and of the test list."""
    lists = []
    for kind in ("train", "test"):
        text = annotations[f"ucf_style/ucfTrainTestlist/{kind}list{split:02d}.txt"]
        names = [line.split()[0] for line in text.split("\r\n") if line]
        lists.append([(n.split("/")[0], re.search(r"_g(\d\d)_", n)[1]) for n in names])
    return lists


def hmdb_split(annotations, split):
    """Return role -> list of (class, source)."""
    rows = defaultdict(list)
    for name in DATASET_CLASSES["hmdb_style"]:
        path = f"hmdb_style/testTrainMulti_7030_splits/{name}_test_split{split}.txt"
        for line in annotations[path].splitlines():
            file, role = line.rsplit(None, 1)
            rows[int(role)].append((name, file.split(f"_{name}_")[0]))
    return rows


# The files


def test_tiny_ucf_lists_name_existing_files_with_labels_of_their_folders(tiny_data):
    lists = tiny_data / "ucf_style/ucfTrainTestlist"
    raw = (lists / "classInd.txt").read_bytes()
    assert raw.startswith(b"1 BodyWeightSquats\r\n2 HandWaving\r\n")
    labels = {row.split()[1]: row.split()[0] for row in raw.decode().split("\r\n") if row}
    train = (lists / "trainlist01.txt").read_text().split("\n")[:-1]
    test = (lists / "testlist01.txt").read_text().split("\n")[:-1]
    assert (len(train), len(test), len(labels)) == (8 * 3, 8 * 2, 8)
    for row in train:
        file, label = row.split()
        assert label == labels[file.split("/")[0]]
        assert (tiny_data / "ucf_style/UCF-101" / file).is_file()
    assert all((tiny_data / "ucf_style/UCF-101" / row.strip()).is_file() for row in test)


def test_tiny_hmdb_files_follow_the_real_names_and_numbers(tiny_data):
    folder = tiny_data / "hmdb_style/testTrainMulti_7030_splits"
    assert len(list(folder.iterdir())) == 10 * NUM_SPLITS
    roles = Counter()
    for path in folder.glob("*_test_split1.txt"):
        name = path.name.removesuffix("_test_split1.txt")
        for line in path.read_text().splitlines():
            file, role = line.rsplit(None, 1)
            assert line.endswith(" ")
            assert HMDB_NAME.match(file)
            assert (tiny_data / "hmdb_style/videos" / name / file).is_file()
            roles[int(role)] += 1
    assert roles == {TRAIN: 30, TEST: 20, UNUSED: 10}


def test_tiny_kinetics_rows_lead_to_their_files(tiny_data):
    root = tiny_data / "kinetics_style"
    first_characters = set()
    for subset, num_clips in (("train", 30), ("val", 20)):
        text = (root / f"annotations/{subset}.csv").read_text()
        rows = list(csv.DictReader(text.splitlines()))
        assert len(rows) == num_clips
        for row in rows:
            start, end = int(row["time_start"]), int(row["time_end"])
            file = f"{row['youtube_id']}_{start:06d}_{end:06d}.mp4"
            assert (root / subset / row["label"] / file).is_file()
            assert (len(row["youtube_id"]), row["split"]) == (11, subset)
            first_characters.add(row["youtube_id"][0])
    assert {"-", "_"} < first_characters


def test_every_tiny_video_decodes_to_32_frames(tiny_data):
    clips = list_clips(PROFILES["tiny"], seed=0)
    assert len(clips) == 8 * 5 + 10 * 6 + 10 * 5
    for clip in clips:
        frames, codec, tag = decode(tiny_data / clip.path)
        assert [(frame.height, frame.width) for frame in frames] == [(96, 128)] * 32
        assert (codec, tag) == (("h264", "avc1") if clip.path.endswith("4") else ("mpeg4", "XVID"))


def test_some_hmdb_files_hold_b_frames_and_ucf_files_none(tiny_data):
    has_b_frames = defaultdict(set)
    for clip in list_clips(PROFILES["tiny"], seed=0)[:100:3]:
        frames, _, _ = decode(tiny_data / clip.path)
        dataset = clip.path.split("/")[0]
        has_b_frames[dataset].add(any(frame.pict_type == PictureType.B for frame in frames))
    assert has_b_frames == {"ucf_style": {False}, "hmdb_style": {False, True}}


def test_encoded_frames_look_like_the_rendered_ones_in_order(tiny_data):
    for clip in list_clips(PROFILES["tiny"], seed=0)[::29]:
        frames, _, _ = decode(tiny_data / clip.path)
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(np.int16)
        # Grain does not survive the encoder: compare means of 8 x 8 blocks.
        error = (decoded - render_clip(clip.spec)).reshape(32, 12, 8, 16, 8, 3).mean((2, 4))
        assert np.abs(error).max() < 32
        assert np.abs(error).mean() < 3


@pytest.mark.parametrize("profile", sorted(PROFILES))
@pytest.mark.parametrize("split", range(1, NUM_SPLITS + 1))
def test_no_group_of_a_class_is_in_train_and_test(profile, split):
    annotations = list_annotations(PROFILES[profile])
    train, test = ucf_split(annotations, split)
    assert not set(train) & set(test)
    rows = hmdb_split(annotations, split)
    assert not set(rows[TRAIN]) & set(rows[TEST])
    assert not set(rows[UNUSED]) & set(rows[TRAIN] + rows[TEST])


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_the_three_splits_have_different_test_groups(profile):
    annotations = list_annotations(PROFILES[profile])
    assert len({frozenset(ucf_split(annotations, split)[1]) for split in (1, 2, 3)}) == 3
    assert len({frozenset(hmdb_split(annotations, split)[TEST]) for split in (1, 2, 3)}) == 3


@pytest.mark.parametrize("profile", ["demo", "full"])
def test_study_profiles_have_36_training_clips_per_class_and_300_test_clips(profile):
    annotations = list_annotations(PROFILES[profile])
    ucf, hmdb = ucf_split(annotations, 1), hmdb_split(annotations, 1)
    kinetics = [annotations[f"kinetics_style/annotations/{s}.csv"] for s in ("train", "val")]
    for train in (ucf[0], hmdb[TRAIN]):
        assert set(Counter(name for name, _ in train).values()) == {36}
    assert kinetics[0].count("\n") - 1 == 36 * 10
    assert min(len(ucf[1]), len(hmdb[TEST]), kinetics[1].count("\n") - 1) >= 300


def test_names_of_different_clips_differ():
    paths = [clip.path for clip in list_clips(PROFILES["full"], seed=0)]
    assert len(set(paths)) == len(paths)


# Generating


def test_finished_root_returns_at_once(tmp_path, micro_profile, fake_clips):
    generate_datasets(tmp_path, profile=micro_profile, num_processes=1)
    calls = []
    again = generate_datasets(
        tmp_path, profile=micro_profile, on_progress=lambda *c: calls.append(c)
    )
    assert again == tmp_path
    assert calls == []


def test_progress_ends_with_all_clips(tmp_path, micro_profile, fake_clips):
    calls = []
    generate_datasets(
        tmp_path, profile=micro_profile, num_processes=1, on_progress=lambda *c: calls.append(c)
    )
    assert calls == [(16, 56), (32, 56), (48, 56), (56, 56)]


def test_half_finished_root_is_completed(tmp_path, micro_profile, fake_clips):
    def stop(num_done, num_clips):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="^$"):
        generate_datasets(tmp_path, profile=micro_profile, num_processes=1, on_progress=stop)
    assert not (tmp_path / "manifest.json").exists()
    calls = []
    generate_datasets(
        tmp_path, profile=micro_profile, num_processes=1, on_progress=lambda *c: calls.append(c)
    )
    assert calls[0] == (32, 56)
    assert all((tmp_path / c.path).exists() for c in list_clips(PROFILES["micro"], seed=0))
    assert [path.name for path in tmp_path.glob("*.json")] == ["manifest.json"]


def test_two_processes_make_the_files_of_one(tmp_path, micro_profile):
    one = generate_datasets(tmp_path / "1", profile=micro_profile, num_processes=1)
    two = generate_datasets(tmp_path / "2", profile=micro_profile, num_processes=2)
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)


@pytest.mark.parametrize(
    ("key", "value"), [("profile", "full"), ("seed", 1), ("generator_version", 0)]
)
def test_root_generated_otherwise_is_refused(tmp_path, micro_profile, fake_clips, key, value):
    generate_datasets(tmp_path, profile=micro_profile, num_processes=1)
    manifest = read_json(tmp_path / "manifest.json")
    write_json(tmp_path / "manifest.json", {**manifest, key: value})
    with pytest.raises(InputError, match=f"'{key}': .*delete it or choose another directory"):
        generate_datasets(tmp_path, profile=micro_profile)


def test_half_finished_root_of_another_seed_is_refused(tmp_path, micro_profile, fake_clips):
    generate_datasets(tmp_path, profile=micro_profile, num_processes=1)
    (tmp_path / "manifest.json").rename(tmp_path / "manifest.unfinished.json")
    with pytest.raises(InputError, match="'seed': 0.*delete it or choose another"):
        generate_datasets(tmp_path, profile=micro_profile, seed=1)


def test_manifest_of_something_else_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(InputError, match="not a manifest of generated datasets"):
        generate_datasets(tmp_path, profile="tiny")


def test_folder_of_other_videos_is_refused(tmp_path):
    (tmp_path / "hmdb_style").mkdir()
    with pytest.raises(InputError, match="hmdb_style exists but .* has no manifest.json"):
        generate_datasets(tmp_path, profile="tiny")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "huge"}, "unknown profile 'huge'; use one of"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"num_processes": 0}, "num_processes must be >= 1, got 0"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        generate_datasets(tmp_path, **arguments)


def test_seed_of_the_datasets_reaches_scene_and_performance():
    for first, second in zip(
        list_clips(PROFILES["tiny"], seed=0), list_clips(PROFILES["tiny"], seed=1), strict=True
    ):
        assert first.path == second.path
        assert first.spec.scene_seed != second.spec.scene_seed
        assert first.spec.take_seed != second.spec.take_seed
