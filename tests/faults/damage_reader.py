"""What a worker of the damage run does: read a whole file, or a damaged copy, and judge each frame.

A frame is right when it is, bit for bit, the frame of the same index that is read from the
undamaged file: decoding is deterministic, so no tolerance is needed.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from damage import damage
from numpy.typing import NDArray

from videokd.data.decode import open_video
from videokd.utils.errors import VideoError

NUM_FRAMES, SAMPLING_RATE = 8, 4

Reference = Mapping[str, NDArray[Any]]
"""digests: of each frame; small: the frames in a few pixels, (T, h, w, 3)."""

_SHARE_OF_BETTER = 0.5


@dataclass(frozen=True)
class Case:
    path: Path
    folder: Path
    """Where references and damaged copies are written."""
    kind: str = ""
    """Empty: read the file as it is and keep what its frames look like."""
    seed: int = 0

    @property
    def reference(self) -> Path:
        return self.folder / f"{self.path.name}.npz"


@dataclass
class Outcome:
    verdicts: Counter[str] = field(default_factory=Counter)
    """Verdict -> frames; "right", "damaged picture", "another frame", "repeated frame"."""
    causes: list[str] = field(default_factory=list)
    """Why the file, or some of its clips, were refused."""
    needs_index: bool = False
    """Whether the file was refused for its number of frames alone, which an index must know."""
    num_frames: int = 0
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """The worst that can be said of the file."""
        if self.needs_index:
            return "refused by index"
        for verdict in ("another frame", "repeated frame", "damaged picture"):
            if self.verdicts[verdict]:
                return verdict
        if not self.verdicts:
            return "refused"
        return "partly refused" if self.causes else "right"


def read(case: Case) -> Outcome:
    """Read a file as it is, or a damaged copy of it in the way of a dataset with an index."""
    start = time.perf_counter()
    outcome = _keep_reference(case) if not case.kind else _read_damaged(case)
    outcome.seconds = time.perf_counter() - start
    return outcome


def _keep_reference(case: Case) -> Outcome:
    try:
        with open_video(str(case.path)) as video:
            digests, small = [], []
            for first in range(0, video.num_frames, 64):
                last = min(first + 64, video.num_frames)
                frames = video.get_frames(range(first, last))
                digests += _digests(frames)
                small.append(_shrink(frames))
    except VideoError as error:
        return Outcome(causes=[error.cause])
    np.savez(case.reference, digests=digests, small=np.concatenate(small))
    return Outcome(Counter(right=len(digests)), num_frames=len(digests))


def _read_damaged(case: Case) -> Outcome:
    copy = case.folder / f"{case.kind}-{case.seed}-{case.path.name}"
    copy.write_bytes(damage(case.path.read_bytes(), case.kind, case.seed))
    try:
        with np.load(case.reference) as reference:
            outcome = _read_clips(case, copy, reference, len(reference["digests"]))
            if not outcome.verdicts:
                without = _read_clips(case, copy, reference, 0)
                outcome.needs_index = bool(without.verdicts)
    finally:
        copy.unlink()
    return outcome


def _read_clips(case: Case, copy: Path, reference: Reference, expected_frames: int) -> Outcome:
    outcome = Outcome()
    try:
        video = open_video(str(copy), expected_frames=expected_frames)
    except VideoError as error:
        return Outcome(causes=[error.cause])
    with video:
        outcome.num_frames = video.num_frames
        for wanted in _plan_clips(video.num_frames, case.seed):
            try:
                frames = video.get_frames(wanted)
            except VideoError as error:
                outcome.causes.append(error.cause)
            else:
                outcome.verdicts.update(_judge(frames, wanted, reference))
    return outcome


def _plan_clips(num_frames: int, seed: int) -> list[list[int]]:
    """Two random clips as in training; for one seed of four, frames from all over the file."""
    rng = np.random.default_rng(seed)
    span = (NUM_FRAMES - 1) * SAMPLING_RATE
    starts = rng.integers(0, max(1, num_frames - span), 2)
    clips = [np.minimum(s + SAMPLING_RATE * np.arange(NUM_FRAMES), num_frames - 1) for s in starts]
    if seed % 4 == 0:
        clips.append(np.linspace(0, num_frames - 1, 4 * NUM_FRAMES).astype(int))
    return [sorted(set(clip.tolist())) for clip in clips]


def _judge(frames: NDArray[np.uint8], wanted: list[int], reference: Reference) -> Counter[str]:
    known = reference["digests"].tolist()
    seen: set[str] = set()
    verdicts: Counter[str] = Counter()
    for index, digest, frame in zip(wanted, _digests(frames), frames, strict=True):
        if index < len(known) and digest == known[index]:
            verdict = "right"
        elif digest in known:
            verdict = "another frame"
        elif digest in seen:
            verdict = "repeated frame"
        else:
            verdict = _name_nearest(frame, index, reference["small"].astype(int))
        seen.add(digest)
        verdicts[verdict] += 1
    return verdicts


def _name_nearest(frame: NDArray[np.uint8], index: int, small: NDArray[np.int64]) -> str:
    """Tell a damaged picture of the right frame from one that is much more like another's."""
    picture = _shrink(frame[None])[0].astype(int)
    if index >= len(small) or picture.shape != small.shape[1:]:
        return "another frame" if index >= len(small) else "damaged picture"
    distances = np.abs(small - picture).mean(axis=(1, 2, 3))
    is_other = distances.min() < _SHARE_OF_BETTER * distances[index]
    return "another frame" if is_other else "damaged picture"


def _digests(frames: NDArray[np.uint8]) -> list[str]:
    return [hashlib.blake2b(frame, digest_size=12).hexdigest() for frame in frames]


def _shrink(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average over blocks, about 32 of them along each side."""
    height, width = (max(1, side // 32) for side in frames.shape[1:3])
    rows, columns = frames.shape[1] // height * height, frames.shape[2] // width * width
    blocks = frames[:, :rows, :columns].reshape(
        len(frames), rows // height, height, columns // width, width, 3
    )
    # One axis after the other is several times as fast as both at once.
    sums = blocks.sum(2, dtype=np.uint32).sum(3)
    return (sums // (height * width)).astype(np.uint8)
