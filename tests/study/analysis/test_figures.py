import numpy as np
from PIL import Image

from videokd.study.analysis.figures import draw_embeddings, draw_similarities


def test_a_picture_of_thousands_of_videos_is_small(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(2000) % 101
    points = {network: rng.normal(size=(2000, 2)) for network in ("expert", "T*", "student", "B1")}
    draw_embeddings(
        tmp_path / "a.png", "UCF101", points, labels=labels, class_names=list(map(str, range(101)))
    )
    assert (tmp_path / "a.png").stat().st_size < 150_000


def test_heat_maps_take_values_that_are_not_defined_or_below_zero(tmp_path):
    values = {"D": np.array([[np.nan, -0.1], [0.5, 1.0]])}
    draw_similarities(tmp_path / "a.png", values, rows=["a, student", "a, B1"], columns=["T*", "e"])
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert image.width > 100
