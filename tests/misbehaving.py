"""Datasets that harm the process they run in. Workers import this file by its name."""

import json
from pathlib import Path

from videokd.data.batch import BadVideo
from videokd.data.dataset import ClipDataset
from videokd.data.frame_cache_writer import _Work


class Expressions:
    """Samples are the values of their requests; a request can be told to do anything."""

    def __getitem__(self, request):
        return eval(request)

    def lost(self, request, cause):
        return BadVideo(0, 0, request, cause)


class DeadlyWork(_Work):
    """Work on a frame cache; in its root, ``deaths.json`` has path -> [expression, expression].

    The first one is evaluated before a video is measured, the second one before it is decoded.
    """

    def measure(self, record):
        self._die(record.path, 0)
        return super().measure(record)

    def store(self, file_name, chunk):
        self._die(chunk.entry.path, 1)
        return super().store(file_name, chunk)

    def _die(self, path, place):
        deaths = json.loads(Path(self.root, "deaths.json").read_text())
        eval(deaths.get(path, ["None", "None"])[place])


class DeadlyClips(ClipDataset):
    """Clips, but before those of some videos an expression is evaluated.

    ``deaths``: path -> expression.
    """

    def __init__(self, *args, deaths, **options):
        super().__init__(*args, **options)
        self._deaths = deaths

    def __getitem__(self, request):
        eval(self._deaths.get(self.lost(request, "").path, "None"))
        return super().__getitem__(request)
