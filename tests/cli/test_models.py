"""The page on all architectures, and docs/models.md, which is that page."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from videokd.cli import models
from videokd.cli import models as model_table
from videokd.cli.models import describe_model, list_models
from videokd.models.family import Family, ModelInput, Published, Size
from videokd.models.zoo import FAMILIES, architecture_names, get_size
from videokd.utils.errors import InputError

ROOT = Path(__file__).parents[2]


def _rows(page):
    """Return architecture -> the cells of its row, without blanks."""
    lines = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")]
    return {name.strip(): [cell.strip() for cell in rest] for name, *rest in lines}


@pytest.fixture(scope="module")
def docs():
    return (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.fixture
def put_size(monkeypatch):
    """``put_size(published=..., name="r3d_18")``: the figures that are published of a network."""

    def put(published, name="r3d_18"):
        family = FAMILIES["video_resnet"]
        size = Size(ModelInput(2, 1, 16), published=published)
        changed = replace(family, sizes={**family.sizes, name: size})
        monkeypatch.setattr(model_table, "FAMILIES", {"video_resnet": changed})
        monkeypatch.setattr(model_table, "get_size", lambda name: changed.sizes[name])

    return put


@pytest.mark.parametrize("name", ["r2plus1d_18", "x3d_xs"])
def test_the_page_in_docs_is_what_the_command_prints(docs, name):
    page = list_models(name)
    assert _rows(docs)[name] == _rows(page)[name]
    assert docs.startswith(model_table._HEADER)
    assert f"- `{name}`: `{get_size(name).weights[0]}`" in docs


def test_the_page_in_docs_names_every_architecture_and_no_other(docs):
    names = list(_rows(docs))[2:]  # after the title and the rule
    assert sorted(names) == architecture_names()


def test_levels_parameters_and_cost_are_those_of_the_published_clip():
    row = describe_model("r3d_18")
    assert row.shapes.levels["stage1"] == (64, 16, 56, 56)
    assert row.shapes.levels["stage4"] == (512, 2, 7, 7)
    assert row.shapes.embedding_dim == 512
    assert (round(row.num_params, 2), round(row.gflops, 2)) == (33.37, 40.70)


def test_figures_that_agree_within_rounding_are_not_compared(put_size):
    put_size(Published(33.4, 0.0, "A paper"))
    page = list_models("r3d_18")
    assert _rows(page)["r3d_18"][6:8] == ["33.37", "33.4"]
    assert _rows(page)["r3d_18"][9] == "-"
    assert "- A paper: `r3d_18`" in page
    assert "Why ours differ" not in page


def test_figures_that_differ_are_explained_or_said_to_be_unexplained(put_size):
    put_size(Published(30.0, 0.0, "A paper", num_classes=10))
    page = list_models("r3d_18")
    assert _rows(page)["r3d_18"][6:8] == ["33.17", "30 (+10.6%)"]
    assert "- A paper (10 classes): `r3d_18`" in page
    assert "- `r3d_18`: 33.17 params instead of 30, not explained" in page
    put_size(Published(30.0, 0.0, "A paper", "Theirs has no stem."))
    assert "- `r3d_18`: Theirs has no stem." in list_models("r3d_18")


def test_a_figure_of_other_clips_is_compared_with_ours_of_those(put_size):
    # Clips of 2 frames, 16 px; in an r3d_18 some strides round up, and 4 frames cost not twice.
    put_size(Published(0.0, 0.0055, "A paper"))
    assert _rows(list_models("r3d_18"))["r3d_18"][9].startswith("0.0055 (+")
    put_size(Published(0.0, 2.0, "A paper", num_frames=4))
    row = describe_model("r3d_18")
    assert row.gflops < row.compared_gflops < 2 * row.gflops
    assert _rows(list_models("r3d_18"))["r3d_18"][9].endswith("%) at 4 frames")
    put_size(Published(0.0, 0.0, "A paper", num_frames=4, crop_size=32))
    assert describe_model("r3d_18").compared_gflops > 2 * row.compared_gflops
    put_size(Published(0.0, 2.0, "A paper", crop_size=32))
    assert _rows(list_models("r3d_18"))["r3d_18"][9].endswith("%) at 32 px")


def test_a_network_whose_library_is_missing_is_listed_with_the_cause(monkeypatch):
    def build_plain(**arguments):
        raise InputError("r3d_18 needs a library: pip install it")

    family: Family = replace(FAMILIES["video_resnet"], build_plain=build_plain)
    monkeypatch.setitem(FAMILIES, "video_resnet", family)
    page = list_models("*3d_18")
    assert "- `r3d_18`: r3d_18 needs a library: pip install it" in page
    assert list(_rows(page))[2:] == []


def test_listing_computes_nothing_and_leaves_the_generator_alone():
    state = torch.get_rng_state()
    list_models("mc3_18")
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(InputError, match=r"no architecture matches 'r3\*x'; known are .*r3d_18"):
        list_models("r3*x")


def test_the_command_lists_what_matches(capsys):
    assert models.main(["x3d_?s"]) == 0
    assert capsys.readouterr().out == list_models("x3d_xs")


@pytest.mark.nightly
def test_every_difference_from_a_published_figure_is_explained():
    unexplained = {}
    for name in architecture_names():
        published = get_size(name).published
        if published is None or published.remark:
            continue
        try:
            unexplained[name] = describe_model(name).differences()
        except InputError:  # its library is not installed
            continue
    assert {name: found for name, found in unexplained.items() if found} == {}
