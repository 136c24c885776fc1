"""Fixtures and factories of all tests: tiny models, random batches, a tiny experiment."""

import importlib
import logging
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

# Fixtures for all tests.
from video_fixtures import failing_reads, make_video, read_numbers  # noqa: F401

from videokd.config import load_config
from videokd.data.augment import Augmentation
from videokd.data.batch import BadVideo, ClipBatch
from videokd.engine.stop import StopRequest
from videokd.models.classifier import VideoClassifier
from videokd.models.zoo import Architecture, get_architecture
from videokd.pipeline.run import Run, prepare_run
from videokd.synthetic import generate_datasets

WIDTH_FACTORS = {
    "mvit_b_16x4": 1 / 6,
    "mvit_b_32x3": 1 / 6,
    "mvit_v1_b": 1 / 6,
    "mvit_v2_s": 1 / 6,
    "mvit_v2_s_gap": 1 / 6,
    "timesformer_b": 1 / 12,
    "videomae_b": 1 / 12,
    "vivit_b": 1 / 12,
    "vjepa2_l": 1 / 16,
    "x3d_l": 0.25,
    "x3d_m": 0.25,
    "x3d_s": 0.25,
    "x3d_xs": 0.25,
}
DEPTH_FACTORS = {
    "csn_r101": 0.3,
    "mvit_b_16x4": 0.3,
    "mvit_b_32x3": 0.3,
    "mvit_v1_b": 0.3,
    "mvit_v2_s": 0.3,
    "mvit_v2_s_gap": 0.3,
    "swin3d_b": 0.25,
    "swin3d_s": 0.25,
    "timesformer_b": 1 / 3,
    "videomae_b": 1 / 3,
    "vivit_b": 1 / 3,
    "vjepa2_l": 1 / 6,
    "x3d_l": 0.2,
    "x3d_m": 0.5,
    "x3d_s": 0.5,
    "x3d_xs": 0.5,
}


@pytest.fixture(autouse=True)
def restore_global_state() -> Iterator[None]:
    """Give every test the same random state, and leave no trace of what it did to it."""
    torch.set_num_threads(1)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    are_allowed = [backend.allow_tf32 for backend in backends]
    logger = logging.getLogger("videokd")
    logging_state = logger.propagate, logger.level, list(logger.handlers)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    yield
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    for backend, is_allowed in zip(backends, are_allowed, strict=True):
        backend.allow_tf32 = is_allowed
    logger.propagate, logger.level, logger.handlers = logging_state


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module ``misbehaving``, where worker processes find it too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("misbehaving")


def tiny_architecture(name: str, *, num_frames: int = 4, crop_size: int = 32) -> Architecture:
    return get_architecture(
        name,
        num_frames=num_frames,
        crop_size=crop_size,
        # timm's have one size, and tiny ones among them: timm:test_resnet.
        width_factor=1.0 if name.startswith("timm") else WIDTH_FACTORS.get(name, 0.125),
        depth_factor=1.0 if name.startswith("timm") else DEPTH_FACTORS.get(name, 0.5),
    )


@pytest.fixture(scope="session")
def make_architecture() -> Callable[..., Architecture]:
    """``make_architecture(name, num_frames=4, crop_size=32)``: small, with every stage."""
    return tiny_architecture


@pytest.fixture
def make_classifier() -> Callable[..., VideoClassifier]:
    """``make_classifier(arch, num_classes={"a": 3}, **options of VideoClassifier)``."""

    def make(
        arch: str = "r3d_18",
        num_classes: dict[str, int] | None = None,
        *,
        num_frames: int = 4,
        crop_size: int = 32,
        **options: object,
    ) -> VideoClassifier:
        architecture = tiny_architecture(arch, num_frames=num_frames, crop_size=crop_size)
        return VideoClassifier(architecture.build_backbone(), num_classes or {"a": 3}, **options)

    return make


@pytest.fixture
def make_batch() -> Callable[..., ClipBatch]:
    """``make_batch(dataset_ids, num_classes=3)``: random uint8 clips with random labels."""

    def make(
        dataset_ids: Sequence[int] = (0, 0, 0, 0),
        *,
        num_classes: int = 3,
        num_frames: int = 4,
        crop_size: int = 32,
        bad: Sequence[BadVideo] = (),
        seed: int = 0,
    ) -> ClipBatch:
        rng = torch.Generator().manual_seed(seed)
        size = len(dataset_ids)
        shape = (size, 3, num_frames, crop_size, crop_size)
        augmentation = Augmentation(crop=(0, 0, crop_size, crop_size))
        return ClipBatch(
            {"clip": torch.randint(256, shape, dtype=torch.uint8, generator=rng)},
            torch.randint(num_classes, (size,), generator=rng),
            torch.tensor(dataset_ids, dtype=torch.int64),
            torch.arange(size),
            (augmentation,) * size,
            torch.arange(num_frames).repeat(size, 1),
            tuple(bad),
        )

    return make


def _put_times_in_decoding_order(path: Path, num_packets: int | None = None) -> Path:
    """Write a copy whose first packets have display times that rise from packet to packet."""
    target = path.with_stem(f"{path.stem}-decoding-order")
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        template = source.streams.video[0]
        stream = container.add_stream_from_template(template)
        read = [packet for packet in source.demux(template) if packet.size]
        times = sorted(packet.pts for packet in read)
        for number, packet in enumerate(read):
            packet.stream = stream
            if num_packets is None or number < num_packets:
                packet.pts = times[number]
            if num_packets is None:
                packet.dts = packet.pts
            container.mux(packet)
    return target


@pytest.fixture
def put_times_in_decoding_order() -> Callable[..., Path]:
    """``put_times_in_decoding_order(path, num_packets=None)``: path of a copy with such times."""
    return _put_times_in_decoding_order


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded datasets in the tiny profile, and a cache of their frames. Not to be changed."""
    return generate_datasets(tmp_path_factory.mktemp("tiny"), profile="tiny", num_processes=1)


@pytest.fixture
def write_config(tiny_data: Path, tmp_path: Path) -> Callable[..., Path]:
    """``write_config(datasets=("UCF", ...), **top-level nodes)``: an experiment of seconds.

    UCF's expert differs from its student in kind, HMDB's too; that of KINETICS is its student.
    """

    def write(datasets: Sequence[str] = ("UCF", "HMDB", "KINETICS"), **nodes: object) -> Path:
        experts = {"UCF": "r2plus1d_18", "HMDB": "mc3_18", "KINETICS": "r3d_18"}
        config = {
            "OUTPUT_DIR": str(tmp_path / "run"),
            "DATASETS": {name: _tiny_dataset(name, tiny_data) for name in datasets},
            "EXPERTS": {name: _tiny_model(experts[name]) for name in datasets},
            "STUDENTS": {name: _tiny_model("r3d_18") for name in datasets},
            "DATA": {
                **{"NUM_FRAMES": 4, "SAMPLING_RATE": 4, "SHORT_SIDE": 32, "CROP_SIZE": 32},
                "FRAME_CACHE": str(tiny_data / "frames"),
                "VAL_FRACTION": 0.3,  # one of three videos of a class
            },
            "SOLVER": {"MAX_EPOCH": 2, "WARMUP_SHARE": 0.25},
            "TRAIN": {"BATCH_SIZE": 8, "LOG_PERIOD": 2, "EVAL_PERIOD": 1},
            "TEST": {"NUM_ENSEMBLE_VIEWS": 2, "NUM_SPATIAL_CROPS": 1},
            "JOINT": {"WIDTH": 8, "DROPOUT": 0.5},
            "EXPORT": {"FORMATS": ["pth", "safetensors"]},
            "DATA_LOADER": {"NUM_WORKERS": 0, "NUM_THREADS": 1},
        }
        for key, value in nodes.items():
            known = config.get(key)
            is_node = isinstance(value, dict) and isinstance(known, dict)
            config[key] = {**known, **value} if is_node else value
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    return write


@pytest.fixture
def relist_ucf(tiny_data: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """``relist_ucf(names)``: overrides for the tiny UCF with its classes in another order.

    ``names`` maps old name to new name, in the new order.
    """

    def relist(names: dict[str, str]) -> list[str]:
        folder, source = tmp_path / "relisted", tiny_data / "ucf_style"
        for old, new in names.items():
            shutil.copytree(source / "UCF-101" / old, folder / "videos" / new)
        labels = {old: label for label, old in enumerate(names, 1)}
        for path in sorted((source / "ucfTrainTestlist").glob("t*list*.txt")):
            rows = [row.split("/", 1) for row in path.read_text().splitlines()]
            lines = [f"{names[old]}/{rest.split()[0]} {labels[old]}\n" for old, rest in rows]
            (folder / path.name).write_text("".join(lines))
        rows = [f"{label} {names[old]}\n" for old, label in labels.items()]
        (folder / "classInd.txt").write_text("".join(rows))
        root = ["DATASETS.UCF.ROOT", str(folder / "videos")]
        return [*root, "DATASETS.UCF.ANNOTATIONS", str(folder), "DATA.FRAME_CACHE", ""]

    return relist


def _tiny_dataset(name: str, root: Path) -> dict[str, object]:
    folders = {
        "UCF": ("ucf101", "ucf_style/UCF-101", "ucf_style/ucfTrainTestlist"),
        "HMDB": ("hmdb51", "hmdb_style/videos", "hmdb_style/testTrainMulti_7030_splits"),
        "KINETICS": ("kinetics", "kinetics_style", "kinetics_style/annotations"),
    }
    kind, videos, annotations = folders[name]
    return {"FORMAT": kind, "ROOT": str(root / videos), "ANNOTATIONS": str(root / annotations)}


def _tiny_model(arch: str) -> dict[str, object]:
    return {"ARCH": arch, "WIDTH_FACTOR": 0.125, "DEPTH_FACTOR": 0.5}


@pytest.fixture
def make_run(write_config: Callable[..., Path]) -> Callable[..., Run]:
    """``make_run(*overrides, is_dry=True, store=None, **nodes of write_config)``."""

    def make(
        *overrides: object, is_dry: bool = True, store: Path | None = None, **nodes: object
    ) -> Run:
        cfg = load_config(write_config(**nodes), [str(word) for word in overrides])
        return prepare_run(cfg, Console(width=120), StopRequest(), is_dry=is_dry, store=store)

    return make


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """``tell(text)``: show a line at the end of the test run, whether tests pass or not."""
    return lambda text: request.node.user_properties.append(("told", text))


@pytest.fixture
def count_held(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """``count_held(text)``: one more case held; those of a text are shown as "TEXT: NUMBER"."""
    return lambda text: request.node.user_properties.append(("held", text))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the fault runs told and counted, in whatever processes they ran."""
    # The report of a test's teardown has all that the test noted; every test has one.
    properties = [
        noted
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for noted in report.user_properties
    ]
    held = Counter(text for name, text in properties if name == "held")
    lines = [text for name, text in properties if name == "told"]
    lines += [f"{text}: {number}" for text, number in held.items()]
    if lines:
        terminalreporter.section("fault runs")
        for line in lines:
            terminalreporter.line(line)
