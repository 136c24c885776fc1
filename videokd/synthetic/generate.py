"""Resumable, parallel generation of the three datasets on disk."""

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from videokd.synthetic.encode import encode_avi, encode_mp4
from videokd.synthetic.layout import ClipFile, list_annotations, list_clips
from videokd.synthetic.profiles import DATASET_CLASSES, PROFILES
from videokd.synthetic.render import FRAME_RATE_FPS, render_clip
from videokd.utils.errors import InputError
from videokd.utils.io import atomic_write_bytes, read_json, write_json

logger = logging.getLogger(__name__)

# Increase whenever the same profile and seed would give different frames or files.
GENERATOR_VERSION = 4
_MANIFEST = "manifest.json"
# Manifest of incomplete datasets; deleted once they are complete.
_UNFINISHED = "manifest.unfinished.json"
_CHUNK_SIZE = 16  # clips per task sent to a process


def generate_datasets(
    root: Path,
    *,
    profile: str = "demo",
    seed: int = 0,
    num_processes: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Generate `ucf_style`, `hmdb_style` and `kinetics_style` under `root`.

    A finished root is not touched, an unfinished one is completed. The manifest is written last, so
    its presence means that all files exist. With more than one process, call this from a script
    guarded by `if __name__ == "__main__":`, because the processes are spawned.

    Args:
        root: Folder of the three datasets; created if missing.
        profile: A name in `PROFILES`.
        seed: Seed of all scenes and performances, >= 0.
        num_processes: Processes that render and encode, >= 1; 1 uses this process.
        on_progress: Called with (finished clips, all clips) during the work.

    Returns:
        `root`.

    Raises:
        InputError: An argument is out of range, or `root` holds other data.
    """
    _check_arguments(profile, seed, num_processes)
    root = Path(root)
    manifest = _make_manifest(profile, seed)
    if _is_finished(root, manifest):
        return root
    write_json(root / _UNFINISHED, manifest)
    clips = list_clips(PROFILES[profile], seed=seed)
    todo = [clip for clip in clips if not (root / clip.path).exists()]
    logger.info("generating %d of %d clips under %s", len(todo), len(clips), root)
    num_done = len(clips) - len(todo)
    for num_made in _make_clips(root, todo, num_processes=num_processes):
        num_done += num_made
        if on_progress is not None:
            on_progress(num_done, len(clips))
    for path, content in list_annotations(PROFILES[profile]).items():
        atomic_write_bytes(root / path, content.encode("ascii"))
    write_json(root / _MANIFEST, manifest)
    (root / _UNFINISHED).unlink(missing_ok=True)
    return root


def _check_arguments(profile: str, seed: int, num_processes: int) -> None:
    if profile not in PROFILES:
        raise InputError(f"unknown profile {profile!r}; use one of {sorted(PROFILES)}")
    if seed < 0:
        raise InputError(f"seed must be >= 0, got {seed}")
    if num_processes < 1:
        raise InputError(f"num_processes must be >= 1, got {num_processes}")


def _make_manifest(profile: str, seed: int) -> dict[str, Any]:
    sizes = PROFILES[profile]
    datasets = {}
    for dataset, classes in DATASET_CLASSES.items():
        counts = getattr(sizes, dataset)
        num_clips = len(classes) * counts.num_groups * counts.num_takes
        datasets[dataset] = {"classes": list(classes), "num_clips": num_clips}
    return {
        "generator_version": GENERATOR_VERSION,
        "profile": profile,
        "seed": seed,
        "datasets": datasets,
    }


def _is_finished(root: Path, manifest: Mapping[str, Any]) -> bool:
    """Return whether `root` holds the finished datasets of `manifest`; other data is an error."""
    for name in (_MANIFEST, _UNFINISHED):
        path = root / name
        if path.exists():
            _check_same(path, manifest)
            return name == _MANIFEST
    strangers = [dataset for dataset in DATASET_CLASSES if (root / dataset).exists()]
    if strangers:
        raise InputError(
            f"{root / strangers[0]} exists but {root} has no {_MANIFEST}: delete the folder or "
            "choose another directory"
        )
    return False


def _check_same(path: Path, manifest: Mapping[str, Any]) -> None:
    try:
        found = read_json(path)
        identity = {key: found[key] for key in ("generator_version", "profile", "seed")}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a manifest of generated datasets: delete {path.parent} or choose "
            "another directory"
        ) from error
    wanted = {key: manifest[key] for key in identity}
    if identity != wanted:
        raise InputError(
            f"{path.parent} holds datasets generated with {identity}, wanted {wanted}: delete it "
            "or choose another directory"
        )


def _make_clips(root: Path, clips: list[ClipFile], *, num_processes: int) -> Iterator[int]:
    """Yield the number of clips made since the last yield."""
    chunks = [clips[i : i + _CHUNK_SIZE] for i in range(0, len(clips), _CHUNK_SIZE)]
    if num_processes == 1 or len(chunks) < 2:
        yield from map(partial(_make_chunk, root), chunks)
        return
    # Spawn instead of fork: the caller may already run torch threads.
    num_processes = min(num_processes, len(chunks))
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as executor:
        futures = [executor.submit(_make_chunk, root, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _make_chunk(root: Path, clips: list[ClipFile]) -> int:
    for clip in clips:
        frames = render_clip(clip.spec)
        if clip.path.endswith(".mp4"):
            content = encode_mp4(frames, frame_rate_fps=FRAME_RATE_FPS)
        else:
            content = encode_avi(
                frames, frame_rate_fps=FRAME_RATE_FPS, num_b_frames=clip.num_b_frames
            )
        atomic_write_bytes(root / clip.path, content)
    return len(clips)
