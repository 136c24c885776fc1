import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videokd.models.flops import count_multiply_adds

CLIP = (3, 4, 8, 8)


def _count(net):
    return count_multiply_adds(net.to("meta").eval(), CLIP)


def test_a_convolution_costs_its_kernel_at_every_place_of_its_output():
    conv = nn.Conv3d(3, 6, (3, 3, 1), stride=(1, 2, 2), padding=(1, 1, 0), groups=3)
    # 6 x 4 x 4 x 4 outputs of a 1 x 3 x 3 x 1 kernel each.
    assert _count(conv) == 6 * 4 * 4 * 4 * 9


class Attention(nn.Module):
    def forward(self, clips):
        queries = clips.reshape(1, 3, 16, 16)
        return F.scaled_dot_product_attention(queries, queries[:, :, :5], queries[:, :, :5, :8])


def test_fused_attention_costs_both_of_its_products():
    # 3 heads of 16 queries and 5 keys: 16 multiply-adds for each score, 8 for each weighted value.
    assert _count(Attention()) == 3 * 16 * 5 * (16 + 8)


@pytest.mark.parametrize("name", ["r2plus1d_18", "x3d_s", "mvit_v2_s"])
def test_the_count_is_fvcores_without_its_norms(make_architecture, name):
    net = make_architecture(name).build_plain(5).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it scripts and traces, which torch calls old
        from fvcore.nn import FlopCountAnalysis

        theirs = FlopCountAnalysis(net, torch.zeros(1, 3, 4, 32, 32)).unsupported_ops_warnings(
            False
        )
        counts = theirs.by_operator()
    expected = sum(count for key, count in counts.items() if "norm" not in key)
    assert count_multiply_adds(net.to("meta"), (3, 4, 32, 32)) == expected
