"""Only motion may tell the class: neither the scene nor one frame of a reversed pair does."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from videokd.synthetic import PROFILES, ClipSpec, render_clip
from videokd.synthetic.actions import ACTIONS, REVERSED_ACTIONS
from videokd.synthetic.layout import list_clips
from videokd.synthetic.profiles import DATASET_CLASSES, TEST, TRAIN


def test_partner_of_every_reversed_action_is_in_the_same_dataset():
    for classes in DATASET_CLASSES.values():
        actions = set(classes.values())
        for reverse, forward in REVERSED_ACTIONS.items():
            assert (reverse in actions) == (forward in actions)


def test_scenes_depend_on_the_group_only():
    scenes = defaultdict(lambda: defaultdict(set))
    for clip in list_clips(PROFILES["demo"], seed=0):
        dataset = clip.path.split("/")[0]
        scenes[dataset][clip.spec.action].add(clip.spec.scene_seed)
    for dataset, of_action in scenes.items():
        assert len({frozenset(seeds) for seeds in of_action.values()}) == 1, dataset


@pytest.mark.parametrize("domain", ["outdoor", "graphic"])
def test_scene_without_actor_is_the_same_for_every_class_and_take(domain):
    spec = ClipSpec("walk", domain, scene_seed=(0, 5), take_seed=(0, 0), has_actor=False)
    frames = render_clip(spec)
    for take, action in enumerate(ACTIONS):
        assert np.array_equal(frames, render_clip(replace(spec, action=action, take_seed=(take,))))


def shrink(frames):
    """Return (T, 16 * 16 * C) means of blocks, 0..1."""
    blocks = frames.reshape(len(frames), 16, 6, 16, 8, -1)
    # One axis after the other is four times as fast as both at once.
    sums = blocks.sum(2, dtype=np.float64).sum(3)
    return sums.reshape(len(frames), -1) / (6 * 8 * 255)


def fit_logistic_regression(inputs, labels, num_classes):
    """Return a function from inputs to predicted labels."""
    inputs, labels = torch.tensor(inputs).float(), torch.tensor(labels)
    mean, scale = inputs.mean(0), inputs.std(0) + 1e-3
    linear = torch.nn.Linear(inputs.shape[1], num_classes)
    torch.nn.init.zeros_(linear.weight)
    optimizer = torch.optim.Adam(linear.parameters(), 1e-2, weight_decay=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        logits = linear((inputs - mean) / scale)
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
    return lambda new: linear((torch.tensor(new).float() - mean) / scale).argmax(1).numpy()


def binomial_bound(chance, num_clips):
    """Accuracy that guessing exceeds once in 1000 times (normal approximation)."""
    return chance + 3.09 * np.sqrt(chance * (1 - chance) / num_clips)


def roles_of(dataset, clips):
    roles = getattr(PROFILES["demo"], dataset).roles(1)
    return np.array([roles[clip.spec.scene_seed[2]] for clip in clips])


def demo_clips(dataset):
    clips = list_clips(PROFILES["demo"], seed=0)
    return [clip for clip in clips if clip.path.startswith(dataset)]


def single_frame_hits(features, labels, roles, train_frames, test_frames):
    """Train on (N, n) frames of each clip, predict one frame of each test clip."""
    rows = np.arange(len(features))
    train = features[rows[:, None], train_frames][roles == TRAIN]
    repeated = np.repeat(labels[roles == TRAIN], train.shape[1])
    predict = fit_logistic_regression(train.reshape(-1, train.shape[2]), repeated, 2)
    return predict(features[rows, test_frames][roles == TEST]) == labels[roles == TEST]


def render_scenes(clips):
    """Return the scene of each group without its actor: the same for every class and take."""
    first = {clip.spec.scene_seed: clip.spec for clip in reversed(clips)}
    return {seed: render_clip(replace(spec, has_actor=False)) for seed, spec in first.items()}


@pytest.mark.nightly
@pytest.mark.parametrize("dataset", list(DATASET_CLASSES))
def test_one_frame_does_not_tell_the_direction_of_a_reversed_pair(dataset):
    actions, rng = set(DATASET_CLASSES[dataset].values()), np.random.default_rng(0)
    hits = defaultdict(list)
    for reverse in actions & set(REVERSED_ACTIONS):
        pair = (REVERSED_ACTIONS[reverse], reverse)
        clips = [clip for clip in demo_clips(dataset) if clip.spec.action in pair]
        labels, roles = (
            np.array([pair.index(c.spec.action) for c in clips]),
            roles_of(dataset, clips),
        )
        frames = [render_clip(clip.spec) for clip in clips]
        scenes = render_scenes(clips)
        shapes = [
            np.abs(f.astype(np.int16) - scenes[clip.spec.scene_seed]).mean(3)
            for f, clip in zip(frames, clips, strict=True)
        ]
        some, one = rng.integers(0, 32, (len(clips), 4)), rng.integers(0, 32, len(clips))
        pixels = np.stack([shrink(clip) for clip in frames])
        outlines = np.stack([shrink(clip) for clip in shapes])
        hits["pixels"] += list(single_frame_hits(pixels, labels, roles, some, one))
        hits["outlines"] += list(single_frame_hits(outlines, labels, roles, some, one))
        first = np.zeros_like(one)
        hits["first"] += list(single_frame_hits(outlines, labels, roles, first[:, None], first))
    bound = binomial_bound(0.5, len(hits["pixels"]))
    assert np.mean(hits["pixels"]) < bound
    # Nor does the actor cut out of the scene, where the regression is strong enough to tell the
    # first frame of "sit" from the first frame of "stand".
    assert np.mean(hits["outlines"]) < bound
    assert np.mean(hits["first"]) > bound


@pytest.mark.nightly
@pytest.mark.parametrize("dataset", list(DATASET_CLASSES))
def test_the_scene_alone_does_not_tell_the_class(dataset):
    actions, rng = list(DATASET_CLASSES[dataset].values()), np.random.default_rng(0)
    clips = demo_clips(dataset)
    scenes = (render_clip(replace(clip.spec, has_actor=False)) for clip in clips)
    features = np.stack([shrink(scene[[rng.integers(32)]])[0] for scene in scenes])
    labels = np.array([actions.index(clip.spec.action) for clip in clips])
    roles = roles_of(dataset, clips)
    predict = fit_logistic_regression(
        features[roles == TRAIN], labels[roles == TRAIN], len(actions)
    )
    accuracy = np.mean(predict(features[roles == TEST]) == labels[roles == TEST])
    assert accuracy < binomial_bound(1 / len(actions), (roles == TEST).sum())
