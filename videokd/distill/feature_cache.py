"""In-memory cache of frozen-network outputs, keyed by (dataset, record, view)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from videokd.models.levels import Features

ViewKey = tuple[int, int, int]


class FeatureCache:
    """In-memory cache of a frozen network's outputs, so that each view passes through it once.

    Views repeat only when each video has a fixed number of them (``ClipDataset``'s
    ``views_per_video``). If any view of a batch is missing, the whole batch is computed. The cache
    is not part of a checkpoint: a resumed training fills it again. Views with a non-finite output,
    which may be a hardware fault, are computed again.

    Args:
        max_bytes: Memory for the outputs, on the device that computes them. When it is used up,
            views that do not fit are computed each time.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._rows: dict[ViewKey, dict[str, Tensor]] = {}
        # Keys of each batch, and flags (B,) on the device for its finite rows. The flags are not
        # read yet.
        self._unchecked: list[tuple[Sequence[ViewKey], Tensor]] = []
        self.num_asked = 0
        self.num_computed = 0

    def __call__(
        self, keys: Sequence[ViewKey], compute: Callable[[], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return the outputs for a batch of views.

        Args:
            keys: B tuples (dataset id, record id, view). A view of -1 never repeats and is not
                cached.
            compute: Function that returns name -> (B, ...) for these views, without gradient.
        """
        self.num_asked += len(keys)
        if all(key in self._rows for key in keys):
            self._drop_not_finite()
        known = [self._rows.get(key) for key in keys]
        if all(row is not None for row in known):
            names = known[0] or {}
            return {
                name: torch.stack([row[name] for row in known if row is not None]) for name in names
            }
        self.num_computed += len(keys)
        outputs = compute()
        num_before = len(self._rows)
        for i, key in enumerate(keys):
            if key[2] >= 0 and key not in self._rows:
                self._keep(key, {name: value[i] for name, value in outputs.items()})
        if len(self._rows) > num_before:
            self._unchecked.append((keys, _are_finite(outputs)))
        return dict(outputs)

    def _drop_not_finite(self) -> None:
        """Read the flags of the batches added since the last call, and drop their non-finite rows.

        This waits for the device, about once per epoch.
        """
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        flags = torch.cat([flag for _, flag in unchecked]).tolist()
        for key, is_finite in zip((k for keys, _ in unchecked for k in keys), flags, strict=True):
            if not is_finite and key in self._rows:
                self._num_bytes -= _num_bytes(self._rows.pop(key))

    def _keep(self, key: ViewKey, row: Mapping[str, Tensor]) -> None:
        num_bytes = _num_bytes(row)
        if self._num_bytes + num_bytes <= self._max_bytes:
            # A slice would keep the whole batch in memory.
            self._rows[key] = {name: value.detach().clone() for name, value in row.items()}
            self._num_bytes += num_bytes


def flatten_features(features: Mapping[str, Features]) -> dict[str, Tensor]:
    """Return the features of several experts as one mapping: "expert/level" -> map or embedding."""
    flat = {f"{name}/{level}": x for name, f in features.items() for level, x in f.levels.items()}
    return {**flat, **{f"{name}/embedding": f.embedding for name, f in features.items()}}


def unflatten_features(flat: Mapping[str, Tensor]) -> dict[str, Features]:
    """Return the features by expert from a mapping made by ``flatten_features``."""
    features: dict[str, dict[str, Tensor]] = {}
    for key, value in flat.items():
        name, level = key.split("/")
        features.setdefault(name, {})[level] = value
    return {name: Features(maps, maps.pop("embedding")) for name, maps in features.items()}


def _num_bytes(row: Mapping[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in row.values())


@torch.no_grad()
def _are_finite(outputs: Mapping[str, Tensor]) -> Tensor:
    """Return (B,) bool on the device: True for rows that are finite in every output."""
    each = [torch.isfinite(value).unsqueeze(-1).flatten(1).all(1) for value in outputs.values()]
    return torch.stack(each).all(0)
