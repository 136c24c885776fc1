import math

import pytest

from videokd.study.section import count_seeds, format_seeds, markdown_table

NAN = math.nan


@pytest.mark.parametrize(
    ("values", "digits", "expected"),
    [
        ([1.0, 2.0, 6.0], 1, "3.0 +- 2.6"),  # variance (4 + 1 + 9) / 2
        ([0.125], 2, "0.12"),
        ([NAN, 3.0, 5.0], 1, "4.0 +- 1.4"),
        ([NAN, 3.0], 1, "3.0"),
        ([NAN, NAN], 1, "-"),
    ],
)
def test_seeds_have_mean_and_sample_deviation(values, digits, expected):
    assert format_seeds(values, digits=digits) == expected


def test_columns_of_numbers_are_aligned_right_and_bars_in_names_escaped():
    table = markdown_table(("dataset", "class", "top-1"), [("A", "a|b", "1.0")], num_names=2)
    assert table.splitlines() == [
        "| dataset | class | top-1 |",
        "| --- | --- | ---: |",
        r"| A | a\|b | 1.0 |",
    ]


def test_one_seed_is_not_plural():
    assert [count_seeds(1), count_seeds(3)] == ["1 seed", "3 seeds"]
