"""Datasets that harm the process they run in. Workers import this file by its name."""

from videokd.data.batch import BadVideo
from videokd.data.dataset import ClipDataset


class Expressions:
    """Samples are the values of their requests; a request can be told to do anything."""

    def __getitem__(self, request):
        return eval(request)

    def lost(self, request, cause):
        return BadVideo(0, 0, request, cause)


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
