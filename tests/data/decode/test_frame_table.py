import pytest

from videokd.data.decode.frame_table import Packet, build_frame_table
from videokd.data.decode.mpeg4 import Vop


def packet(pts, *, is_key=False, is_hidden=False, is_corrupt=False, num_bytes=500):
    return Packet(pts, is_key, is_hidden, is_corrupt, num_bytes)


def make_table(*packets, codec="h264", **options):
    return build_frame_table(packets, codec=codec, **options)


def vops(kinds):
    """Make "IPbB" into pictures; small letters are not coded."""
    return [Vop(kind.upper(), kind.isupper()) for kind in kinds]


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
    assert table.max_frames == 3


def test_a_packet_that_was_cut_off_does_not_count():
    table = make_table(packet(0, is_key=True), packet(1), packet(2, is_corrupt=True))
    assert table.pts.tolist() == [0, 1]
    assert table.stop == 2


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


def test_decoding_lands_on_the_first_frame_shown_at_or_after_the_key_frame():
    table = make_table(*gops(3, 10))
    assert [table.landing_of(key) for key in range(3)] == [0, 10, 20]
    hidden = make_table(packet(-10, is_key=True, is_hidden=True), packet(0), packet(10))
    assert hidden.landing_of(0) == 0


@pytest.mark.parametrize(
    ("times", "is_closed"),
    [
        ((0, 2, 1, 3, 5, 4), True),  # I P B, I P B: the B of the second group follows its I
        ((0, 2, 1, 4, 3, 5), False),  # the frame at 3 is decoded after the key frame at 4
        ((2, 0, 1, 3, 5, 4), True),  # frames before the first key frame are not shown
    ],
)
def test_a_group_is_open_where_frames_before_its_key_frame_are_decoded_later(times, is_closed):
    packets = [packet(pts, is_key=number in (0, 3)) for number, pts in enumerate(times)]
    assert make_table(*packets).has_closed_groups == is_closed


def test_runs_are_cut_where_that_leaves_out_a_frame():
    table = make_table(*gops(4, 30))
    assert table.plan_runs([0, 28, 35]) == [[0, 28], [35]]
    assert table.plan_runs([0, 29, 35]) == [[0, 29, 35]]
    assert table.plan_runs([0, 5, 20]) == [[0, 5, 20]]
    assert table.plan_runs([]) == []


def test_a_counted_video_is_one_run():
    table = make_table(*gops(4, 30), packet(None))
    assert table.plan_runs([0, 119]) == [[0, 119]]


def test_no_key_frame_is_no_video():
    assert make_table(packet(0), packet(1)).pts.size == 0
    assert make_table().max_frames == 0
    assert make_table(packet(0), packet(1), codec="mpeg4", vops=vops("PB")).pts.size == 0


@pytest.mark.parametrize(
    ("times", "reorders", "expected"),
    [
        ((0, 1, 2, 3, 4), False, False),
        ((0, 1, 2, 3, 4), True, True),
        ((0, 3, 1, 2, 4), True, False),
        ((5, 3, 4, 9, 7), True, False),
    ],
)
def test_times_that_rise_although_the_codec_reorders_are_decoding_times(times, reorders, expected):
    packets = [packet(pts, is_key=n == 0) for n, pts in enumerate(times)]
    assert make_table(*packets, reorders=reorders).is_counted is expected


def test_a_b_picture_that_is_late_shows_decoding_times_in_a_part_of_a_video():
    def gop(*times):
        return [packet(pts, is_key=n == 0) for n, pts in enumerate(times)]

    def with_b_pictures(packets):
        return [p._replace(is_bidirectional=n % 4 > 1) for n, p in enumerate(packets)]

    sound = with_b_pictures(gop(0, 3, 1, 2) + gop(4, 7, 5, 6))
    assert not make_table(*sound, reorders=True).is_counted
    mixed = with_b_pictures(gop(0, 3, 1, 2) + gop(4, 5, 6, 7))
    assert make_table(*mixed, reorders=True).is_counted


def test_a_container_without_display_times_is_counted_where_the_codec_reorders():
    packets = [packet(n, is_key=n == 0) for n in (0, 3, 1, 2)]
    assert make_table(*packets, reorders=True, has_display_times=False).is_counted
    assert not make_table(*packets, reorders=False, has_display_times=False).is_counted


def test_known_pictures_are_numbered_by_their_kinds_whatever_the_times():
    packets = [packet(t, is_key=n == 0) for n, t in enumerate((1, 3, 2, 4, 6, 5, 7))]
    table = make_table(*packets, codec="mpeg4", vops=vops("IPBBIBB"))
    # Decoded I P B B I B B, shown I B B P B B I.
    assert table.stamps.tolist() == [0, 3, 1, 2, 6, 4, 5]
    assert (table.keys.tolist(), table.key_pts.tolist()) == ([0, 4], [0, 6])
    assert table.pts.tolist() == list(range(7))
    assert not table.is_counted
    assert table.shown_pts is None


def test_a_picture_that_is_not_coded_is_no_frame():
    packets = [packet(t, is_key=t == 0) for t in range(4)]
    table = make_table(*packets, codec="mpeg4", vops=vops("IPpP"))
    assert table.stamps.tolist() == [0, 1, -1, 2]
    # The frame before it stays on the screen.
    assert table.shown_pts.tolist() == [0, 1, 3]


def test_hidden_packets_are_believed_before_pictures():
    packets = [packet(t, is_key=t == 0, is_hidden=t == 0) for t in range(3)]
    table = make_table(*packets, codec="mpeg4", vops=vops("IPP"))
    assert table.stamps is None
    assert table.pts.tolist() == [1, 2]


def test_seconds_are_counted_from_the_first_frame_shown():
    table = make_table(packet(500, is_key=True), packet(700), packet(600))
    seconds = table.seconds(3, seconds_per_unit=0.001, fps=25.0)
    assert seconds == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize(("fps", "expected"), [(10.0, [0.0, 0.1]), (0.0, [0.0, 0.04])])
def test_seconds_without_times_follow_the_rate(fps, expected):
    table = make_table(packet(0, is_key=True), packet(None))
    seconds = table.seconds(2, seconds_per_unit=0.001, fps=fps)
    assert seconds == pytest.approx(expected)
