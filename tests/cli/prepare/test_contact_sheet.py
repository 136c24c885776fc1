import numpy as np

from videokd.cli.prepare.contact_sheet import Row, Strip, draw_sheet


def make_strip(num_frames, size, label="plain"):
    """Frames of one colour each: the n-th is (n, 100, 200)."""
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    frames[...] = 100, 100, 200
    frames[..., 0] = np.arange(num_frames)[:, None, None]
    return Strip(label, frames)


def read_colours(image):
    """Return the red values of the frames' pixels: where green and blue are those of a frame."""
    pixels = np.asarray(image)
    is_frame = (pixels[..., 1] == 100) & (pixels[..., 2] == 200)
    return pixels, is_frame


def test_frames_are_drawn_as_they_are_and_in_order():
    image = draw_sheet([Row("a", "b", (1, 3, 5), (make_strip(3, 96), make_strip(3, 96)))], "h")
    pixels, is_frame = read_colours(image)
    assert is_frame.sum() == 2 * 3 * 96 * 96
    row = pixels[np.flatnonzero(is_frame.any(axis=1))[0]]
    reds = row[(row[:, 1] == 100) & (row[:, 2] == 200), 0]
    assert reds.tolist() == [0] * 96 + [1] * 96 + [2] * 96


def test_small_frames_are_enlarged_pixel_by_pixel_and_large_ones_reduced():
    for size, drawn in ((32, 96), (48, 96), (80, 80), (160, 160), (640, 160)):
        _, is_frame = read_colours(draw_sheet([Row("a", strips=(make_strip(2, size),))], "h"))
        assert is_frame.sum() == 2 * drawn**2


def test_of_long_clips_frames_are_left_out_evenly():
    image = draw_sheet([Row("a", strips=(make_strip(64, 112),))], "h")
    pixels, is_frame = read_colours(image)
    assert image.width <= 2400
    reds = sorted(set(pixels[is_frame][:, 0].tolist()))
    assert (reds[0], reds[-1]) == (0, 63)
    assert set(np.diff(reds)) <= {2, 3}


def test_a_row_without_frames_is_text_alone():
    image = draw_sheet([Row("UCF   x.avi", "cannot be read: empty file")], "heading")
    pixels, is_frame = read_colours(image)
    assert not is_frame.any()
    assert (pixels < 128).any()


def test_text_stays_on_the_sheet():
    image = draw_sheet([Row("a long name " * 100, strips=(make_strip(2, 96),))], "h")
    assert image.width == 720
    assert (np.asarray(image)[:, -10:] == 255).all()
