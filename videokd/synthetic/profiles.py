"""Classes of the three datasets and their sizes in each profile."""

from collections.abc import Mapping
from dataclasses import dataclass

# Class name -> action. Names are in alphabetical order, so that positions are labels. Some motions
# occur in two datasets under different names, none in all three.
UCF_CLASSES = {
    "BodyWeightSquats": "squat",
    "HandWaving": "wave",
    "JumpingJack": "jumping_jack",
    "Punch": "punch",
    "SitDown": "sit",
    "StandUp": "stand",
    "Walking": "walk",
    "WalkingBackwards": "walk_backwards",
}
HMDB_CLASSES = {
    "kick": "kick",
    "lift": "lift",
    "pull": "pull",
    "punch": "punch",
    "push": "push",
    "put_down": "put_down",
    "sit": "sit",
    "stand": "stand",
    "walk": "walk",
    "walk_backwards": "walk_backwards",
}
KINETICS_CLASSES = {
    "lifting (box)": "lift",
    "lowering arms": "lower_arms",
    "marching": "march",
    "pulling": "pull",
    "pushing": "push",
    "putting down (box)": "put_down",
    "raising arms": "raise_arms",
    "running": "run",
    "squat": "squat",
    "waving hand": "wave",
}
DATASET_CLASSES: Mapping[str, Mapping[str, str]] = {
    "ucf_style": UCF_CLASSES,
    "hmdb_style": HMDB_CLASSES,
    "kinetics_style": KINETICS_CLASSES,
}
DATASET_DOMAINS: Mapping[str, str] = {
    "ucf_style": "outdoor",
    "hmdb_style": "film",
    "kinetics_style": "graphic",
}

NUM_SPLITS = 3
UNUSED, TRAIN, TEST = 0, 1, 2  # the numbers of HMDB51's split files


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """Numbers of groups of one dataset per split; a group is one scene with one actor.

    Attributes:
        num_train: Training groups.
        num_test: Test groups.
        num_unused: Groups in neither split (HMDB51 has such clips).
        num_takes: Clips per class and group.
    """

    num_train: int
    num_test: int
    num_unused: int = 0
    num_takes: int = 1

    @property
    def num_groups(self) -> int:
        """Number of all groups."""
        return self.num_train + self.num_test + self.num_unused

    def roles(self, split: int) -> list[int]:
        """Return TRAIN, TEST or UNUSED for each group; each split rotates the groups.

        Args:
            split: 1, 2 or 3.
        """
        roles = [TEST] * self.num_test + [UNUSED] * self.num_unused + [TRAIN] * self.num_train
        shift = (split - 1) * self.num_groups // NUM_SPLITS
        return roles[len(roles) - shift :] + roles[: len(roles) - shift]


@dataclass(frozen=True, slots=True)
class Profile:
    """Sizes of the three datasets."""

    ucf_style: GroupCounts
    hmdb_style: GroupCounts
    kinetics_style: GroupCounts


PROFILES: Mapping[str, Profile] = {
    "tiny": Profile(
        ucf_style=GroupCounts(num_train=3, num_test=2),
        hmdb_style=GroupCounts(num_train=3, num_test=2, num_unused=1),
        kinetics_style=GroupCounts(num_train=3, num_test=2),
    ),
    # 36 training clips per class; 30 remain when two groups are held out for validation.
    "demo": Profile(
        ucf_style=GroupCounts(num_train=12, num_test=13, num_takes=3),
        hmdb_style=GroupCounts(num_train=12, num_test=10, num_unused=2, num_takes=3),
        kinetics_style=GroupCounts(num_train=36, num_test=30),
    ),
    # As many training clips as "demo" and more than twice the test clips, to resolve smaller
    # differences.
    "full": Profile(
        ucf_style=GroupCounts(num_train=12, num_test=28, num_takes=3),
        hmdb_style=GroupCounts(num_train=12, num_test=23, num_unused=2, num_takes=3),
        kinetics_style=GroupCounts(num_train=36, num_test=70),
    ),
}
