import pytest

from videokd.data.frame_table import Packet, build_frame_table


def packet(pts, *, is_key=False, is_hidden=False, is_corrupt=False, num_bytes=500):
    return Packet(pts, is_key, is_hidden, is_corrupt, num_bytes)


def make_table(*packets, codec="h264"):
    return build_frame_table(packets, codec=codec)


def gops(num_gops, length):
    return [packet(n, is_key=n % length == 0) for n in range(num_gops * length)]


def test_frames_are_numbered_in_the_order_of_their_times():
    table = make_table(packet(0, is_key=True), packet(30), packet(10), packet(20))
    assert table.pts.tolist() == [0, 10, 20, 30]
    assert not table.is_counted


def test_hidden_frames_do_not_count():
    table = make_table(packet(-10, is_key=True, is_hidden=True), packet(0), packet(10))
    assert table.pts.tolist() == [0, 10]
    assert table.key_of(0) == 0


def test_frames_before_and_leading_the_first_key_frame_do_not_count():
    table = make_table(packet(5), packet(30, is_key=True), packet(20), packet(40))
    assert table.pts.tolist() == [30, 40]
    assert table.num_packets == 3


def test_a_packet_that_was_cut_off_does_not_count():
    table = make_table(packet(0, is_key=True), packet(1), packet(2, is_corrupt=True))
    assert table.pts.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("packets", "codec", "expected"),
    [
        ([packet(0, is_key=True), packet(0)], "h264", True),
        ([packet(0, is_key=True), packet(None)], "h264", True),
        ([packet(None, is_key=True), packet(3)], "h264", True),
        ([packet(0, is_key=True), packet(1, num_bytes=6)], "mpeg4", True),
        ([packet(0, is_key=True), packet(1, num_bytes=6)], "vp9", False),
        ([packet(0, is_key=True), packet(1)], "mpeg4", False),
    ],
)
def test_times_are_given_up_where_they_cannot_be_right(packets, codec, expected):
    assert make_table(*packets, codec=codec).is_counted is expected


def test_a_frame_is_decoded_from_the_last_key_frame_before_it():
    table = make_table(*gops(3, 10))
    assert [table.key_of(n) for n in (0, 9, 10, 25)] == [0, 0, 1, 2]


def test_runs_are_cut_where_a_seek_skips_enough_frames():
    table = make_table(*gops(4, 30))
    # From 5 the key frame 30 is 25 away; from 20 it is 10 away, which is decoded through.
    assert table.plan_runs([0, 5, 35]) == [[0, 5], [35]]
    assert table.plan_runs([0, 20, 35]) == [[0, 20, 35]]
    assert table.plan_runs([]) == []


def test_a_counted_video_is_one_run():
    table = make_table(*gops(4, 30), packet(None))
    assert table.plan_runs([0, 119]) == [[0, 119]]


def test_no_key_frame_is_no_video():
    assert make_table(packet(0), packet(1)).pts.size == 0
    assert make_table().num_packets == 0
