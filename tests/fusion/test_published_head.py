"""The trunk over single frames, which are images, against METHOD's stage 2 in slow float64."""

import math

import numpy as np
import pytest
import torch


class _SlowHead:
    """Stage 2 with a trunk, written from the text of METHOD: loops over clips, places, channels.

    Maps are float64 arrays (B, C, H, W); T is 1, so of a 3x3x3 kernel only the middle frame counts.
    """

    def __init__(self, joint, training):
        self.joint = joint
        self.training = training

    def __call__(self, seen):
        lowest, *higher = [k for k in self.joint.fusion.layers if k != "embedding"]
        fused = self.fuse(self.joint.fusion.layers[lowest], seen, lowest)
        maps = {lowest: fused}
        for level in higher:
            layer = self.joint.fusion.layers[level]
            fused = maps[level] = self.gelu(
                self.norm(layer.norm, self.strided_conv(layer.conv, fused))
            )
        pooled = np.array([[channel.mean() for channel in clip] for clip in fused])
        dense = self.joint.fusion.layers["embedding"].linear
        weight, bias = self.read(dense.weight), self.read(dense.bias)
        embedding = np.stack([weight @ clip + bias for clip in pooled])
        return maps, embedding

    def fuse(self, fusion, seen, level):
        adapted = []
        for name in self.joint.experts:
            adaptor = fusion.adaptors[name]
            x = self.norm(adaptor.norm, self.read(seen[name].levels[level])[:, :, 0])
            bias = self.read(adaptor.conv.bias)[:, None, None]
            adapted.append(self.pointwise_conv(adaptor.conv, x) + bias)
        mixed = self.gelu(self.norm(fusion.mix.norm, np.concatenate(adapted, axis=1)))
        return self.gelu(self.norm(fusion.norm, self.pointwise_conv(fusion.mix.conv, mixed)))

    def norm(self, layer, x):
        out = np.empty_like(x)
        for c in range(x.shape[1]):
            mean, var = self.read(layer.running_mean)[c], self.read(layer.running_var)[c]
            if self.training:
                mean = x[:, c].mean()
                var = ((x[:, c] - mean) ** 2).mean()
            normal = (x[:, c] - mean) / math.sqrt(var + layer.eps)
            out[:, c] = normal * self.read(layer.weight)[c] + self.read(layer.bias)[c]
        return out

    def pointwise_conv(self, layer, x):
        return np.einsum("oc,bchw->bohw", self.read(layer.weight)[:, :, 0, 0, 0], x)

    def strided_conv(self, layer, x):
        weight, step = self.read(layer.weight)[:, :, 1], layer.stride[1]
        size, out_size = x.shape[-1], (x.shape[-1] - 1) // step + 1
        out = np.zeros((len(x), len(weight), out_size, out_size))
        for row, column, i, j in np.ndindex(out_size, out_size, 3, 3):
            y, z = row * step + i - 1, column * step + j - 1
            if 0 <= y < size and 0 <= z < size:
                out[:, :, row, column] += x[:, :, y, z] @ weight[:, :, i, j].T
        return out

    def gelu(self, x):
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    def read(self, value):
        return value.detach().double().numpy()


@pytest.mark.parametrize("training", [False, True])
def test_a_trunk_over_images_is_the_published_head(make_joint, randomise, training):
    levels = ("stage1", "stage2", "stage3")
    # Two experts whose maps lie on the student's grid: the published head does not resample.
    joint = make_joint(("a", "d"), clip=(1, 32), topology="trunk", levels=levels)
    randomise(joint.fusion)
    joint.train(training)
    seen = joint.expert_features({"clip": torch.rand(3, 3, 1, 32, 32)})
    # Before the fusion: in training it moves the running statistics.
    maps, embedding = _SlowHead(joint, training)(seen)
    fused = joint.fuse(seen)
    assert list(fused.levels) == list(maps) == list(levels)
    for level, expected in maps.items():
        actual = fused.levels[level].detach().numpy()[:, :, 0]
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fused.embedding.detach().numpy(), embedding, rtol=1e-3, atol=1e-4)
