"""Animated test videos for the report page, with the predictions of student and expert."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videokd.data.decode import open_video
from videokd.data.decode.source import open_video_file
from videokd.report.results import Scored
from videokd.utils.errors import VideoError

_NUM_SHOWN_FRAMES = 12
_SHORT_SIDE_PX = 112
_QUALITY = 55  # of WebP, 0 to 100


@dataclass(frozen=True)
class ClipCard:
    """Data of one video on the page."""

    path: str
    label: str
    is_right: bool
    top: tuple[tuple[str, float], ...]
    """The student's most probable classes and their percentages."""
    expert: str
    """The expert's most probable class; "" when the expert did not score this video."""
    image: str
    """Data URI of an animated WebP; "" without a picture."""
    problem: str
    """Reason for a missing picture; "" when there is one."""


def make_cards(
    student: Scored, expert: Scored | None, *, num_each: int, max_bytes: int
) -> list[ClipCard]:
    """Return cards of videos that the student classified correctly and wrongly.

    The random choice is the same in every call.

    Args:
        student: The student's predictions.
        expert: Predictions of the dataset's expert, if it was tested.
        num_each: Maximum number of correct videos, and of wrong videos.
        max_bytes: Size limit of all pictures together; videos beyond it are shown without a
            picture.
    """
    expert_says = {}
    if expert is not None:
        names = (expert.class_names[k] for k in expert.predicted)
        expert_says = dict(zip(expert.paths, names, strict=True))
    is_right = student.predicted == student.labels
    chosen = [*_choose(student, is_right, num_each), *_choose(student, ~is_right, num_each)]
    cards: list[ClipCard] = []
    for row in chosen:
        left = max_bytes - sum(len(card.image) for card in cards)
        image, problem = _try_to_draw(student, row, left)
        cards.append(
            ClipCard(
                path=student.paths[row],
                label=student.class_names[student.labels[row]],
                is_right=bool(is_right[row]),
                top=_top_classes(student, row),
                expert=expert_says.get(student.paths[row], ""),
                image=image,
                problem=problem,
            )
        )
    return cards


def _choose(scored: Scored, mask: NDArray[np.bool_], limit: int) -> list[int]:
    """Draw up to ``limit`` rows of a mask, with different labels as far as possible."""
    rows = np.random.default_rng(0).permutation(np.flatnonzero(mask)).tolist()
    known: set[int] = set()
    first: list[int] = []
    later: list[int] = []
    for row in rows:
        label = int(scored.labels[row])
        (later if label in known else first).append(row)
        known.add(label)
    return [*first, *later][:limit]


def _top_classes(scored: Scored, row: int, k: int = 3) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-scored.probs[row], kind="stable")[:k]
    return tuple((scored.class_names[i], 100 * float(scored.probs[row, i])) for i in order)


def _try_to_draw(scored: Scored, row: int, max_bytes: int) -> tuple[str, str]:
    """Return (data URI, problem); one of them is empty."""
    try:
        with open_video(open_video_file(scored.paths[row], root=scored.root)) as reader:
            wanted = np.linspace(0, reader.num_frames - 1, _NUM_SHOWN_FRAMES).round().astype(int)
            frames = reader.get_frames(wanted.tolist(), short_side=_SHORT_SIDE_PX)
            seconds = reader.num_frames / reader.fps if reader.fps > 0 else 2.0
    except VideoError as error:
        return "", error.cause
    image = _encode_webp(list(frames), seconds)
    return (image, "") if len(image) <= max_bytes else ("", "left out to keep this page small")


def _encode_webp(frames: Sequence[NDArray[np.uint8]], seconds: float) -> str:
    """Return T frames (H, W, 3) as the data URI of a looping animation of 1 to 4 seconds."""
    from PIL import Image

    pictures = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 * min(max(seconds, 1.0), 4.0) / len(pictures)),
        loop=0,
        quality=_QUALITY,
    )
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
