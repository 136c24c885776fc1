import pytest
import torch

from videokd.models.weights.names import rename, strip_wrappers
from videokd.utils.errors import InputError


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "net.", "_orig_mod.module.", "module.model.", "ema_model."]
)
def test_wrappers_of_the_whole_network_are_taken_off(prefix):
    state = {f"{prefix}fc.weight": torch.ones(1), f"{prefix}layer1.weight": torch.ones(2)}
    renamed = rename(state, family="video_resnet", architecture="r3d_18")
    assert list(renamed.state) == ["fc.weight", "layer1.weight"]
    assert renamed.state["fc.weight"] is state[f"{prefix}fc.weight"]
    assert renamed.convention == "its library's"


def test_wrappers_inside_the_network_and_the_count_of_an_average_are_taken_off():
    state = {
        "n_averaged": torch.tensor(7),
        "module.layer1._checkpoint_wrapped_module.0._orig_mod.weight": torch.ones(1),
        "module.fc._fsdp_wrapped_module.weight": torch.ones(1),
    }
    assert list(strip_wrappers(state)) == ["layer1.0.weight", "fc.weight"]


def test_a_prefix_that_not_all_names_have_and_unknown_names_stay():
    state = {"model.fc.weight": torch.ones(1), "anything.bias": torch.ones(1)}
    assert rename(state, family="x3d", architecture="x3d_s").state == state
    assert rename({}, family="x3d", architecture="x3d_s").state == {}


def test_names_of_pyslowfasts_own_pytorchvideo_models_are_pytorchvideos():
    state = {"module.model.blocks.0.conv.weight": torch.ones(1)}
    renamed = rename(state, family="ptv_resnet", architecture="slow_r50")
    assert list(renamed.state) == ["blocks.0.conv.weight"]


def test_layers_without_a_counterpart_keep_their_names():
    state = {"s1.pathway0_stem.bn.bias": torch.ones(8), "s3.pathway0_nonlocal1.g": torch.ones(8)}
    renamed = rename(state, family="ptv_resnet", architecture="slow_r50")
    assert list(renamed.state) == ["blocks.0.norm.bias", "s3.pathway0_nonlocal1.g"]
    other = rename(state, family="s3d", architecture="s3d")
    assert list(other.state) == list(state)
    assert other.convention == "PySlowFast's"


def test_tensors_that_would_have_one_name_are_refused():
    state = {"s1.pathway0_stem.bn.bias": torch.ones(8), "s1.s0_stem.bn.bias": torch.ones(8)}
    with pytest.raises(InputError, match="would be 'blocks.0.norm.bias', one of them is 's1.s0_st"):
        rename(state, family="ptv_resnet", architecture="slow_r50")


def test_a_norm_in_parts_is_refused():
    block = "s2.pathway0_res0"
    state = {
        f"{block}.branch1_bn.weight": torch.ones(8),
        f"{block}.branch1.weight": torch.ones(8, 8),
    }
    stem = {"s1.pathway0_stem.bn.bias": torch.ones(8)}
    with pytest.raises(InputError, match="lacks a part of the norms of 'blocks.1.res_blocks.0'"):
        rename({**state, **stem}, family="x3d", architecture="x3d_s")
