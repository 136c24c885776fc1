import pytest

from videokd.data.h264 import find_length_size, is_disposable

SLICE, KEY_SLICE, SEI, PARAMETERS = 1, 5, 6, 7


def unit(kind, *, is_reference=False, num_bytes=20, length_size=4):
    content = bytes([3 * 32 * is_reference + kind]).ljust(num_bytes, b"\x5a")
    return len(content).to_bytes(length_size, "big") + content


@pytest.mark.parametrize("length_size", [1, 2, 4])
@pytest.mark.parametrize("is_reference", [True, False])
def test_a_picture_is_disposable_unless_its_slices_are_for_reference(length_size, is_reference):
    options = {"is_reference": is_reference, "length_size": length_size}
    packet = unit(SEI, length_size=length_size) + 2 * unit(SLICE, **options)
    assert is_disposable(packet, length_size=length_size) is not is_reference


def test_one_slice_for_reference_is_enough():
    fields = unit(SLICE), unit(SLICE, is_reference=True)
    for packet in (fields[0] + fields[1], fields[1] + fields[0]):
        assert not is_disposable(packet, length_size=4)
    assert not is_disposable(unit(KEY_SLICE, is_reference=True), length_size=4)


@pytest.mark.parametrize(
    "packet",
    [b"", unit(SEI) + unit(PARAMETERS), unit(SLICE)[:-1], unit(SLICE) + b"\0", b"\0\0\0\1\1\2\3"],
    ids=["empty", "no slice", "cut off", "too long", "start codes"],
)
def test_what_is_not_made_up_of_slices_is_kept(packet):
    assert not is_disposable(packet, length_size=4)


@pytest.mark.parametrize(
    ("head", "length_size"),
    [
        (b"\1\x64\0\x1f\xff", 4),
        (b"\1\x64\0\x1f\xfc", 1),
        (b"\0\0\0\1\x67", 0),
        (b"", 0),
        (b"\1", 0),
    ],
)
def test_the_size_of_a_size_is_in_the_head(head, length_size):
    assert find_length_size(head) == length_size
