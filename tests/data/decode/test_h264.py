import pytest

from videokd.data.decode.h264 import find_length_size, read_picture

SLICE, KEY_SLICE, SEI, PARAMETERS = 1, 5, 6, 7


# The first bits of a slice: first_mb_in_slice = 0 is "1"; then slice_type, at the end an "1".
P_SLICE, B_SLICE, ALL_B_SLICES = 0b1_1_111111, 0b1_010_1111, 0b1_00111_11
SECOND_SLICE_OF_TYPE_B = 0b00101_010  # first_mb_in_slice = 4


def unit(kind, *, is_reference=False, num_bytes=20, length_size=4, start=0x5A):
    content = bytes([3 * 32 * is_reference + kind, start]).ljust(num_bytes, b"\x5a")
    return len(content).to_bytes(length_size, "big") + content


@pytest.mark.parametrize("length_size", [1, 2, 4])
@pytest.mark.parametrize("is_reference", [True, False])
def test_a_picture_is_disposable_unless_its_slices_are_for_reference(length_size, is_reference):
    options = {"is_reference": is_reference, "length_size": length_size}
    packet = unit(SEI, length_size=length_size) + 2 * unit(SLICE, **options)
    assert read_picture(packet, length_size=length_size).is_disposable is not is_reference


def test_one_slice_for_reference_is_enough():
    fields = unit(SLICE), unit(SLICE, is_reference=True)
    for packet in (fields[0] + fields[1], fields[1] + fields[0]):
        assert not read_picture(packet, length_size=4).is_disposable
    assert not read_picture(unit(KEY_SLICE, is_reference=True), length_size=4).is_disposable


@pytest.mark.parametrize(
    "packet",
    [b"", unit(SEI) + unit(PARAMETERS), unit(SLICE)[:-1], unit(SLICE) + b"\0", b"\0\0\0\1\1\2\3"],
    ids=["empty", "no slice", "cut off", "too long", "start codes"],
)
def test_what_is_not_made_up_of_slices_is_kept(packet):
    assert not read_picture(packet, length_size=4).is_disposable


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


@pytest.mark.parametrize(
    ("start", "is_bidirectional"),
    [(P_SLICE, False), (B_SLICE, True), (ALL_B_SLICES, True), (SECOND_SLICE_OF_TYPE_B, True)],
)
def test_b_pictures_are_told_by_their_slice_type(start, is_bidirectional):
    packet = unit(SEI) + unit(SLICE, start=start)
    assert read_picture(packet, length_size=4).is_bidirectional is is_bidirectional


def test_a_slice_header_that_is_cut_off_is_no_b_picture():
    packet = unit(SLICE, start=0, num_bytes=2)
    assert not read_picture(packet, length_size=4).is_bidirectional
