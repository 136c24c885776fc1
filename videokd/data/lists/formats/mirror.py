"""Effect of mirroring left to right on a video's class.

"Moving left" mirrored is "moving right". Such classes must be paired explicitly, since most names
with "left" or "right" in them ("putting something upright", "leaving right away") have no
direction.
"""

import logging
from collections.abc import Sequence

from videokd.data.lists.formats.listing import normal_form
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

FLIPS = ("auto", "keep", "swap", "off")
_OTHER_SIDE = {"left": "right", "right": "left"}


def resolve_mirror_labels(
    class_names: Sequence[str],
    *,
    flip: str,
    pairs: Sequence[Sequence[str]],
    known_pairs: Sequence[Sequence[str]] = (),
    dataset: str,
) -> tuple[int, ...] | None:
    """Return `VideoIndex.mirror_labels` of a dataset.

    Args:
        class_names: Name of class k at position k.
        flip: "keep": mirroring changes no class; "swap": it exchanges the classes of each pair;
            "off": videos are not mirrored; "auto": "swap" if there are pairs, else "keep".
        pairs: (name, name) pairs given by the user, in any spelling of the names.
        known_pairs: Pairs of the format; used if the user gave none.
        dataset: Name of the dataset, for messages.

    Returns:
        Class of the mirror image of class k at position k; () if mirroring changes no class; None
        for "off". Also None if one class of a known pair is absent (in a subset of the dataset),
        since the mirror image of the other one then has no class.

    Raises:
        InputError: flip is unknown, "swap" has no pairs, or a pair of the user names a class that
            does not exist or already has a pair.
    """
    if flip not in FLIPS:
        raise InputError(f"{dataset}: flip must be one of {', '.join(FLIPS)}; got {flip!r}")
    if flip == "off":
        return None
    if flip == "swap" and not (pairs or known_pairs):
        raise InputError(f"{dataset}: flip 'swap' needs left-right pairs of class names; got none")
    if flip == "keep" or not (pairs or known_pairs):
        return ()
    labels = {normal_form(name): label for label, name in enumerate(class_names)}
    if not pairs:
        found = [[name for name in pair if normal_form(name) in labels] for pair in known_pairs]
        halves = [names for names in found if len(names) == 1]
        if halves:
            _logger.warning(
                "%s: no class is the mirror image of %r, so videos are not mirrored",
                *(dataset, halves[0][0]),
            )
            return None
        pairs = [names for names in found if names]
    return _swap(class_names, labels, pairs, dataset)


def _swap(
    class_names: Sequence[str],
    labels: dict[str, int],
    pairs: Sequence[Sequence[str]],
    dataset: str,
) -> tuple[int, ...]:
    mirrored = list(range(len(class_names)))
    for pair in pairs:
        unknown = [name for name in pair if normal_form(name) not in labels]
        if unknown:
            raise InputError(
                f"{dataset}: left-right pair {list(pair)} names {unknown[0]!r}, which is not one "
                f"of the {len(class_names)} classes"
            )
        first, second = (labels[normal_form(name)] for name in pair)
        if first == second or (mirrored[first], mirrored[second]) != (first, second):
            raise InputError(
                f"{dataset}: left-right pair {list(pair)} must be of two classes that are in no "
                "other pair"
            )
        mirrored[first], mirrored[second] = second, first
    return tuple(mirrored)


def warn_of_likely_pair(class_names: Sequence[str], dataset: str) -> None:
    """Log a warning if two class names differ only in left and right being exchanged."""
    spelled = {normal_form(name): name for name in class_names}
    for form, name in spelled.items():
        other = " ".join(_OTHER_SIDE.get(word, word) for word in form.split())
        if other != form and other in spelled:
            _logger.warning(
                "%s: classes %r and %r look like mirror images, yet a mirrored video keeps its "
                "class; set LEFT_RIGHT_PAIRS, or FLIP to keep or off",
                *(dataset, name, spelled[other]),
            )
            return
