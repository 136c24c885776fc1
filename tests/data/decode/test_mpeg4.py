import numpy as np
import pytest

from videokd.data.decode.mpeg4 import Vop, display_ranks, list_pictures

START = b"\0\0\1"


def bits(text):
    """Make "1 01 1" into bytes, filled up with zeros."""
    digits = text.replace(" ", "")
    digits += "0" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8, "big")


def layer(resolution=25, *, version="", aspect="0001", control="0"):
    """A layer: not random accessible, type 1, ..., rectangular, marker, resolution, marker."""
    head = f"0 00000001 {'1' + version if version else '0'} {aspect} {control} 00 1"
    return START + b"\x20" + bits(f"{head} {resolution:016b} 1 0")


def vop(kind, *, seconds=0, num_time_bits=5, is_coded=True, num_bytes=40):
    """A picture: kind, seconds, marker, time, marker, coded; filled up to a size."""
    text = f"{'IPBS'.index(kind):02b} {'1' * seconds}0 1 {'0' * num_time_bits} 1 {int(is_coded)}"
    return START + b"\xb6" + bits(text).ljust(num_bytes - 4, b"\x5a")


def kinds(packets, head=b""):
    return [picture for picture, _ in list_pictures(packets, head=head)]


def places(*packets):
    return [data for _, data in list_pictures(packets, head=layer())]


PLACEHOLDER = vop("P", is_coded=False, num_bytes=6)


@pytest.mark.parametrize("kind", "IPBS")
@pytest.mark.parametrize("is_coded", [True, False])
def test_the_kind_of_a_picture_is_read(kind, is_coded):
    assert kinds([vop(kind, seconds=2, is_coded=is_coded)], layer()) == [Vop(kind, is_coded)]


@pytest.mark.parametrize(
    ("resolution", "num_time_bits"),
    [(1, 1), (2, 1), (3, 2), (25, 5), (30000, 15), (32, 5), (33, 6)],
)
def test_the_length_of_a_time_follows_the_resolution(resolution, num_time_bits):
    for is_coded in (True, False):
        packet = vop("P", num_time_bits=num_time_bits, is_coded=is_coded)
        assert kinds([packet], layer(resolution)) == [Vop("P", is_coded)]


@pytest.mark.parametrize(
    "options",
    [
        {"version": "0001 001"},
        {"aspect": "1111 00001100 00001011"},
        {"control": "1 01 0 0"},
        {"control": "1 01 1 1" + "01" * 39 + "1"},
    ],
)
def test_optional_parts_of_a_layer_are_passed_over(options):
    assert kinds([vop("B", is_coded=False)], layer(**options)) == [Vop("B", False)]


def test_a_layer_inside_a_packet_counts():
    user_data = START + b"\xb2XviD0055"
    packets = [layer() + user_data + vop("I"), vop("P")]
    assert kinds(packets) == [Vop("I", True), Vop("P", True)]


@pytest.mark.parametrize(
    ("head", "packet", "message"),
    [
        (b"", vop("I"), "without a layer"),
        (layer(), START + b"\xb6", "cut off"),
        (layer(), START + b"\xb6" + bytes(40), "damaged"),
        (layer(), START + b"\xb6" + b"\xff" * 40, "cut off|damaged"),
    ],
)
def test_a_damaged_head_is_an_error(head, packet, message):
    with pytest.raises(ValueError, match=message):
        list_pictures([packet], head=head)


def test_packed_pictures_get_the_places_of_the_packets_that_follow():
    i, p, b1, b2 = vop("I"), vop("P"), vop("B", num_bytes=12), vop("B", num_bytes=60)
    assert places(i, p + b1, PLACEHOLDER, p) == [i, p, b1, p]
    # XviD with two B pictures: the second pushes on what waits.
    assert places(i, p + b1, b2, PLACEHOLDER, p) == [i, p, b1, b2, p]
    assert places(i, p + b1, b1, b2, PLACEHOLDER) == [i, p, b1, b1, b2]


def test_packets_of_one_picture_stay_what_they_are():
    packets = [layer() + vop("I"), vop("P"), PLACEHOLDER]
    assert all(a is b for a, b in zip(places(*packets), packets, strict=True))


def test_a_picture_packed_into_the_last_packet_is_lost():
    assert places(vop("I"), vop("P") + vop("B")) == [vop("I"), vop("P")]


@pytest.mark.parametrize(
    ("packets", "message"),
    [
        ([vop("P") + vop("B") + vop("B")], "3 pictures in an MPEG-4 packet"),
        ([vop("P") + vop("B"), vop("P") + vop("B")], "2 pictures in an MPEG-4 packet"),
        ([vop("I"), b"\xff" * 30], "0 pictures in an MPEG-4 packet"),
        ([vop("P") + vop("B"), vop("P")], "without a place to go to"),
    ],
)
def test_other_packings_are_refused(packets, message):
    with pytest.raises(ValueError, match=message):
        places(*packets)


def test_display_ranks_are_those_of_a_decoder_that_holds_one_picture_back():
    rng = np.random.default_rng(0)
    for _ in range(50):
        kinds = "I" + "".join(rng.choice(list("IPBSpb"), 12))
        ranks = display_ranks([Vop(kind.upper(), kind.isupper()) for kind in kinds])
        shown, held, num_anchors = [], None, 0
        for place, kind in enumerate(kinds):
            if kind == "B" and num_anchors >= 2:
                shown.append(place)
            elif kind in "IPS":
                num_anchors += 1
                shown += [held] if held is not None else []
                held = place
        shown.append(held)
        assert [place for place in np.argsort(ranks) if ranks[place] >= 0] == shown
