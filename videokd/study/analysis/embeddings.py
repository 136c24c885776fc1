"""Sections on features: similarity between networks, and nearest neighbours of embeddings."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videokd.pipeline.run import Run
from videokd.study.analysis import figures
from videokd.study.analysis.embedding_quality import knn_accuracy, linear_cka, tsne_points
from videokd.study.analysis.networks import (
    EMBEDDING,
    STUDENT_KEYS,
    TITLES,
    PooledFeatures,
    describe_fused_students,
    extract_features,
    find_trainings,
)
from videokd.study.markdown import Section, count_seeds, format_seeds, markdown_table

_NUM_NEIGHBOURS = 5
_PERPLEXITY = 30.0


def read_similarity(runs: Mapping[int, Run], folder: Path) -> Section:
    """Compare students and B1 with T* and every expert by CKA, level by level.

    Args:
        runs: Seed -> run; at least one.
        folder: Output folder of the picture.

    Raises:
        InputError: A network is not trained.
    """
    first = next(iter(runs.values()))
    trainings, levels = find_trainings(first), _levels(first)
    references = ["T*", *(f"expert {name}" for name in trainings["experts"])]
    titles = [TITLES[key] for key in STUDENT_KEYS if key in trainings]
    values = {
        name: np.stack([_similarities(run, name) for run in runs.values()])
        for name in trainings["students"]
    }
    sides = [(level, title) for level in levels for title in titles]
    figures.draw_similarities(
        folder / "similarity.png",
        {name: cka.mean(axis=0) for name, cka in values.items()},
        rows=[f"{level}, {title}" for level, title in sides],
        columns=references,
    )
    table = markdown_table(
        ("dataset", "level", "network", *references),
        [
            (
                name,
                level,
                title,
                *(format_seeds(seeds, digits=2) for seeds in cka[:, i].T),
            )
            for name, cka in values.items()
            for i, (level, title) in enumerate(sides)
        ],
        num_names=3,
    )
    text = (
        "Linear CKA (unbiased estimator) of each student and of B1, the same network trained "
        "alone, with T* and with the experts, on the test videos of the student's dataset, one "
        "centre view each. Maps are averaged over time, height and width first. 1: the same but "
        "for rotation and scale; about 0: unrelated. Mean and standard deviation over "
        f"{count_seeds(len(runs))}.{describe_fused_students(first)}\n\n"
        f"{table}\n\n"
        "How to read it: a student has taken over features of T* where it is more like T* than "
        "B1, which never saw T*."
    )
    return Section("Likeness of features (CKA)", text, ("similarity.png",))


def read_neighbours(runs: Mapping[int, Run], folder: Path) -> Section:
    """Draw t-SNE of the first seed's embeddings, and compute k-NN accuracy for all seeds.

    Args:
        runs: Seed -> run; at least one.
        folder: Output folder of the pictures.

    Raises:
        InputError: A network is not trained.
    """
    seed, first = next(iter(runs.items()))
    trainings = find_trainings(first)
    names = list(trainings["students"])
    pictures = tuple(f"tsne-{number}.png" for number in range(len(names)))
    for picture, name in zip(pictures, names, strict=True):
        features_of = {
            key: extract_features(first, trainings[key][name], name, "test") for key in trainings
        }
        figures.draw_embeddings(
            folder / picture,
            name,
            {TITLES[key]: _embed(features, seed) for key, features in features_of.items()},
            labels=features_of["students"].labels,
            class_names=first.datasets[name].test.class_names,
        )
    table = markdown_table(
        ("dataset", *(TITLES[key] for key in trainings)),
        [
            (
                name,
                *(format_seeds(_knn(run, key, name) for run in runs.values()) for key in trainings),
            )
            for name in names
        ],
    )
    text = (
        f"Embeddings of the test videos (one centre view each) placed by t-SNE, seed {seed}, "
        "coloured by class. The table says how many of them, in percent, their "
        f"{_NUM_NEIGHBOURS} nearest training videos classify rightly, mean and standard deviation "
        f"over {count_seeds(len(runs))} (cosine distance, weighted votes; without the training "
        "videos held out for validation)."
        f"{describe_fused_students(first)}\n\n{table}\n\n"
        "How to read it: the k-NN accuracy says how well classes are apart before any classifier; "
        "in the pictures look for mixed clusters only, since distances between clusters mean "
        "nothing."
    )
    return Section("Embeddings (t-SNE and k-NN)", text, pictures)


def _levels(run: Run) -> list[str]:
    return [*run.cfg.JOINT.LEVELS, EMBEDDING]


def _similarities(run: Run, name: str) -> NDArray[np.float64]:
    """Return the CKA of one seed on one dataset: rows are (level, network), columns references."""
    trainings = find_trainings(run)
    references = [trainings["joint"][name], *trainings["experts"].values()]
    networks = [trainings[key][name] for key in STUDENT_KEYS if key in trainings]
    there = [extract_features(run, training, name, "test") for training in references]
    here = [extract_features(run, training, name, "test") for training in networks]
    return np.array([[_cka(a, b, level) for b in there] for level in _levels(run) for a in here])


def _cka(a: PooledFeatures, b: PooledFeatures, level: str) -> float:
    return linear_cka(a.levels[level], b.levels[level])


def _knn(run: Run, key: str, name: str) -> float:
    training = find_trainings(run)[key][name]
    train, test = (extract_features(run, training, name, split) for split in ("train", "test"))
    return knn_accuracy(
        train.levels[EMBEDDING],
        train.labels,
        test.levels[EMBEDDING],
        test.labels,
        k=_NUM_NEIGHBOURS,
    )


def _embed(features: PooledFeatures, seed: int) -> NDArray[np.float64]:
    embeddings = features.levels[EMBEDDING]
    # t-SNE uses about 3 * perplexity neighbours of each point, so small splits need a smaller
    # perplexity.
    perplexity = min(_PERPLEXITY, (len(embeddings) - 1) / 3)
    return tsne_points(embeddings, perplexity=perplexity, seed=seed)
