"""A tiny training as a tool runs it, to be disturbed and compared with one that was not."""

import random
import re
from collections import Counter

from crashing import Order

from videokd.engine.meters import MEASURED
from videokd.engine.metrics_log import read_metrics
from videokd.utils.io import read_json, sha256_file

TRAINING = "experts/UCF"


class Experiment:
    """A tiny training that can be killed."""

    def __init__(self, runner, config, folder):
        self._runner, self._config, self.folder = runner, config, folder
        self.errors, self.seconds = "", 0.0

    def train(self, name, *words, watched=None, **what):
        """Train in the folder ``name``; return the exit code, and the points with ordinals."""
        output = self.folder / name
        words = ("--cfg", self._config, "--stage", "experts", "OUTPUT_DIR", output, *words)
        return self.run("train_net", words, watched or output, **what)

    def index(self, name, **what):
        """Index the videos in the folder ``name``, as ``train`` does its work."""
        place = self.folder / name
        words = ("index", "--cfg", self._config, "--jobs", 1, "--output", place / "index")
        return self.run("prepare_data", words, place, **what)

    def indexed(self, name):
        """Return names and hashes of the files of an index, one per split."""
        files = list((self.folder / name).rglob("*.records"))
        assert {path.stem for path in files} == {"train", "test"}
        return {str(f.relative_to(self.folder / name)): sha256_file(f) for f in files}

    def run(self, tool, words, watched, **what):
        answer = self._runner.run(Order(tool, tuple(map(str, words)), str(watched), **what))
        self.errors, self.seconds = answer["errors"], answer["seconds"]
        counts = Counter()
        points = []
        for name in answer["points"]:
            points.append((name, counts[name]))
            counts[name] += 1
        return answer["code"], points

    def outcome(self, name):
        """Return all that a training leaves and that is no measured time."""
        training = self.folder / name / TRAINING
        lines = [
            {key: value for key, value in line.items() if key not in MEASURED}
            for line in read_metrics(training / "metrics.jsonl")
        ]
        stage = {**read_json(training / "training.json"), "seconds": 0, "calls": []}
        weights = {path.name: sha256_file(path) for path in training.glob("*.safetensors")}
        files = {path.name for path in training.iterdir()}
        return lines, stage, weights, files

    def resumed_at(self, name):
        """Return the steps at which a training went on."""
        log = (self.folder / name / "run.log").read_text()
        return [int(step) for step in re.findall(r"going on at step (\d+)", log)]


def choose(points, pattern, num, *, seed):
    """Return so many of the points that match, the same for the same seed."""
    fitting = sorted(point for point in set(points) if re.fullmatch(pattern, point[0]))
    return random.Random(seed).sample(fitting, num)
