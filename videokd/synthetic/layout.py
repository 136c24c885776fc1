"""File names, splits and annotation files of the three datasets; no pixels.

Each dataset copies the layout of a real dataset, including odd file names:

    ucf_style/UCF-101/<Class>/v_<Class>_gNN_cNN.avi          ucf_style/ucfTrainTestlist/*.txt
    hmdb_style/videos/<class>/<source>_<class>_..._<k>.avi   hmdb_style/testTrainMulti_7030_splits/
    kinetics_style/{train,val}/<label>/<id>_<start>_<end>.mp4    kinetics_style/annotations/*.csv

The name of a clip contains its group: gNN, the source before `_<class>_`, or the id.
"""

import base64
import csv
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass

from videokd.synthetic.profiles import (
    DATASET_CLASSES,
    DATASET_DOMAINS,
    HMDB_CLASSES,
    KINETICS_CLASSES,
    NUM_SPLITS,
    TEST,
    TRAIN,
    UCF_CLASSES,
    GroupCounts,
    Profile,
)
from videokd.synthetic.render import ClipSpec

# Odd characters on purpose: 536 names in the real split files contain such characters.
_HMDB_SOURCES = (
    "Clip#1",
    "Who_is_it!!",
    "Part(2)",
    "a;b",
    "x[1]",
    "tele_&_co",
    "plus+",
    "plain",
    "we@home",
    "~1980",
    "part-3",
)
_HMDB_VIEWS = ("fr", "le", "ri", "ba")
_NUM_HMDB_B_FRAMES = 2
_KINETICS_CLIP_SEC = 10  # duration in the names of Kinetics clips


@dataclass(frozen=True, slots=True)
class ClipFile:
    """Video file to generate.

    Attributes:
        path: Path relative to the root of all three datasets, with "/".
        spec: Content of the clip.
        num_b_frames: Maximum number of consecutive B-frames; for AVI files only.
    """

    path: str
    spec: ClipSpec
    num_b_frames: int = 0


def list_clips(profile: Profile, *, seed: int) -> list[ClipFile]:
    """Return all videos of the three datasets; the seed changes their specs, not their names.

    Args:
        profile: Sizes of the datasets.
        seed: Seed of all scenes and performances, >= 0.
    """
    clips = []
    for name, group, take in _cells(UCF_CLASSES, profile.ucf_style):
        path = f"ucf_style/UCF-101/{_ucf_file(name, group, take)}"
        clips.append(ClipFile(path, _make_spec("ucf_style", name, (seed, group, take))))
    for name, group, take in _cells(HMDB_CLASSES, profile.hmdb_style):
        path = f"hmdb_style/videos/{name}/{_hmdb_file(name, group, take)}"
        spec = _make_spec("hmdb_style", name, (seed, group, take))
        clips.append(ClipFile(path, spec, num_b_frames=_NUM_HMDB_B_FRAMES * (group % 2)))
    for name, group, take in _cells(KINETICS_CLASSES, profile.kinetics_style):
        subset = _kinetics_subset(profile.kinetics_style, group)
        path = f"kinetics_style/{subset}/{name}/{_kinetics_stem(name, group, take)}.mp4"
        clips.append(ClipFile(path, _make_spec("kinetics_style", name, (seed, group, take))))
    return clips


def list_annotations(profile: Profile) -> dict[str, str]:
    """Return the contents of all annotation files of the three datasets.

    Args:
        profile: Sizes of the datasets.

    Returns:
        Path relative to the root -> content. UCF files end their lines with CRLF.
    """
    return {
        **_ucf_annotations(profile.ucf_style),
        **_hmdb_annotations(profile.hmdb_style),
        **_kinetics_annotations(profile.kinetics_style),
    }


def _make_spec(dataset: str, class_name: str, numbers: tuple[int, int, int]) -> ClipSpec:
    """Return the spec of (seed, group, take); the scene depends on neither class nor take."""
    seed, group, take = numbers
    dataset_id = list(DATASET_CLASSES).index(dataset)
    class_id = list(DATASET_CLASSES[dataset]).index(class_name)
    return ClipSpec(
        action=DATASET_CLASSES[dataset][class_name],
        domain=DATASET_DOMAINS[dataset],
        scene_seed=(seed, dataset_id, group),
        take_seed=(seed, dataset_id, group, class_id, take),
    )


def _cells(classes: Iterable[str], counts: GroupCounts) -> list[tuple[str, int, int]]:
    """Return all combinations (class name, group, take)."""
    return [
        (name, group, take)
        for name in classes
        for group in range(counts.num_groups)
        for take in range(counts.num_takes)
    ]


def _ucf_file(name: str, group: int, take: int) -> str:
    return f"{name}/v_{name}_g{group + 1:02d}_c{take + 1:02d}.avi"


def _ucf_annotations(counts: GroupCounts) -> dict[str, str]:
    folder = "ucf_style/ucfTrainTestlist"
    labels = {name: label for label, name in enumerate(UCF_CLASSES, start=1)}
    files = {f"{folder}/classInd.txt": [f"{label} {name}" for name, label in labels.items()]}
    cells = _cells(UCF_CLASSES, counts)
    for split in range(1, NUM_SPLITS + 1):
        roles = counts.roles(split)
        files[f"{folder}/trainlist{split:02d}.txt"] = [
            f"{_ucf_file(*cell)} {labels[cell[0]]}" for cell in cells if roles[cell[1]] == TRAIN
        ]
        files[f"{folder}/testlist{split:02d}.txt"] = [
            _ucf_file(*cell) for cell in cells if roles[cell[1]] == TEST
        ]
    return {path: "".join(f"{line}\r\n" for line in lines) for path, lines in files.items()}


def _hmdb_file(name: str, group: int, take: int) -> str:
    source = f"{_HMDB_SOURCES[group % len(_HMDB_SOURCES)]}_{group}"
    view = _HMDB_VIEWS[group % len(_HMDB_VIEWS)]
    return f"{source}_{name}_f_cm_np1_{view}_med_{take}.avi"


def _hmdb_annotations(counts: GroupCounts) -> dict[str, str]:
    files = {}
    for split in range(1, NUM_SPLITS + 1):
        roles = counts.roles(split)
        for name in HMDB_CLASSES:
            path = f"hmdb_style/testTrainMulti_7030_splits/{name}_test_split{split}.txt"
            cells = _cells([name], counts)
            # As in the real files, lines end with a blank.
            files[path] = "".join(f"{_hmdb_file(*cell)} {roles[cell[1]]} \n" for cell in cells)
    return files


def _kinetics_subset(counts: GroupCounts, group: int) -> str:
    return "train" if counts.roles(1)[group] == TRAIN else "val"


def _kinetics_stem(name: str, group: int, take: int) -> str:
    # As in the real dataset, several clips come from one upload: here one scene with all classes.
    place = list(KINETICS_CLASSES).index(name) + len(KINETICS_CLASSES) * take
    start_sec = _KINETICS_CLIP_SEC * place
    return f"{_kinetics_id(group)}_{start_sec:06d}_{start_sec + _KINETICS_CLIP_SEC:06d}"


def _kinetics_id(group: int) -> str:
    """Return an id of 11 characters like YouTube's; some start with "-" or "_"."""
    digest = hashlib.sha256(f"upload {group}".encode()).digest()
    first = {0: "-", 1: "_"}.get(group % 5, "")
    return (first + base64.urlsafe_b64encode(digest).decode())[:11]


def _kinetics_annotations(counts: GroupCounts) -> dict[str, str]:
    files = {}
    cells = _cells(KINETICS_CLASSES, counts)
    for subset in ("train", "val"):
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
        for name, group, take in cells:
            if _kinetics_subset(counts, group) == subset:
                stem = _kinetics_stem(name, group, take)
                youtube_id, start, end = stem[:-14], int(stem[-13:-7]), int(stem[-6:])
                writer.writerow([name, youtube_id, start, end, subset])
        files[f"kinetics_style/annotations/{subset}.csv"] = buffer.getvalue()
    return files
