from pathlib import Path

import pytest

from videokd.data.lists.stand_in import make_stand_in
from videokd.utils.errors import InputError


@pytest.mark.parametrize(
    ("name", "format", "num_classes", "num_train"),
    [
        ("UCF", "ucf101", 101, 9537),
        ("HMDB", "hmdb51", 51, 3570),
        ("KINETICS", "kinetics", 400, 240_000),
        ("K700", "kinetics", 700, 545_000),
    ],
)
def test_a_dataset_that_is_not_here_has_its_published_numbers(name, format, num_classes, num_train):
    train, test = make_stand_in(name, format=format, root=Path("nowhere"))
    assert (train.num_classes, len(train)) == (num_classes, num_train)
    assert {record.label for record in test.records} == set(range(num_classes))


def test_a_folder_that_is_not_here_has_no_numbers():
    with pytest.raises(InputError, match="DATASETS.MINE.ROOT nowhere does not exist, and how many"):
        make_stand_in("MINE", format="folder", root=Path("nowhere"))
