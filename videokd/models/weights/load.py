"""Loading of pretrained weights into a model: renaming, adaptation, checks and a report."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from videokd.models.classifier import VideoClassifier
from videokd.models.weights.adapt import adapt
from videokd.models.weights.image_resnet import rename_image_resnet
from videokd.models.weights.names import rename
from videokd.models.weights.positions import Clip
from videokd.models.weights.report import Changed, LoadReport
from videokd.models.weights.source import read_weights
from videokd.models.zoo import Architecture, get_size
from videokd.utils.class_names import LABELS_NAME, ONLY_HEAD, describe_difference, match_rows
from videokd.utils.errors import InputError

# Update counters of batch norms, which videokd does not use.
_COUNTERS = "num_batches_tracked"


def load_pretrained(
    model: VideoClassifier,
    architecture: Architecture,
    source: str,
    *,
    class_names: Mapping[str, Sequence[str]] | None = None,
    patterns: Sequence[Sequence[str]] = (),
    is_strict: bool = True,
) -> LoadReport:
    """Load pretrained weights into a model.

    The file's classifier is copied to each classifier of the model with the same classes, with rows
    matched by class name. If the file has no class names, it is copied to classifiers with the same
    number of classes. Other classifiers do not change, and the report lists this.

    Args:
        model: Model on the CPU; changed in place, but not if this raises.
        architecture: Architecture of the model's backbone.
        source: Name or path of the weights, see ``source.identify_weights``.
        class_names: Classifier name -> its classes; None if unknown.
        patterns: (regular expression, replacement) pairs, applied in order to the file's names; a
            tensor whose name becomes empty is left out.
        is_strict: Whether to raise if a tensor, except the classifier's, is missing, unexpected or
            of a shape that cannot be adapted.

    Raises:
        InputError: As in ``read_weights``; the patterns give two tensors one name; no tensor of the
            file fits; or, if ``is_strict``, not all tensors fit.
    """
    fetched = read_weights(source)
    state, note, head = _unwrap_ours(fetched.state, model)
    state = _apply_patterns(state, patterns)
    names = {"family": architecture.family, "architecture": architecture.name}
    renamed = rename(state, **names)
    state, convention = renamed.state, renamed.convention
    image = rename_image_resnet(state, **names)
    if image is not None:
        state, convention = image
    fit = _Fit(
        model,
        architecture,
        fetched.clip or _published_clip(architecture),
        class_names=class_names or {},
        found_names=fetched.class_names.get(head, ()),
    )
    fit.take(_match_prefix(state, fit.wanted))
    report = LoadReport(
        source=source,
        convention=convention,
        loaded=tuple(fit.loaded),
        adapted=tuple(fit.adapted),
        missing=tuple(fit.missing),
        unexpected=tuple(fit.unexpected),
        mismatched=tuple(fit.mismatched),
        head=fit.head,
        has_head=bool(fit.head_state),
        is_order_assumed=fit.is_order_assumed,
        note=note or fetched.note,
    )
    if not fit.state:
        raise InputError(f"{report}\nnothing in them is of {architecture.name}")
    if is_strict and not report.is_whole:
        raise InputError(
            f"{report}\nthey are not all of {architecture.name}; check ARCH and its factors, give "
            "other names with WEIGHTS_RENAME, or set WEIGHTS_STRICT False to go on like this"
        )
    model.backbone.net.load_state_dict(fit.state, strict=False)
    for name, rows in fit.heads.items():
        model.heads[name].load_state_dict({k: v[rows] for k, v in fit.head_state.items()})
    return report


@dataclass
class _Fit:
    """Assignment of a file's tensors to the tensors of a model."""

    model: VideoClassifier
    architecture: Architecture
    trained_clip: Clip
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Classifier name in the model -> its classes."""
    found_names: Sequence[str] = ()
    """Classes of the file's classifier; empty if unknown."""
    state: dict[str, Tensor] = field(default_factory=dict)
    heads: dict[str, list[int]] = field(default_factory=dict)
    """Name of a classifier to fill -> for each of its rows, the row in the file."""
    head_state: dict[str, Tensor] = field(default_factory=dict)
    head: str = ""
    is_order_assumed: bool = False
    loaded: list[str] = field(default_factory=list)
    adapted: list[Changed] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[Changed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wanted: dict[str, Tensor] = self.model.backbone.net.state_dict()
        self._head_names = {
            f"{self.architecture.head_name}.{key}": key for key in ("weight", "bias")
        }

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Assign a file's tensors, renamed to the network's names, to the model."""
        head = {key: state[name] for name, key in self._head_names.items() if name in state}
        self._take_head(head)
        for name, target in self.wanted.items():
            if name not in state:
                if not name.endswith(_COUNTERS):
                    self.missing.append(name)
            elif state[name].shape == target.shape:
                self.state[name] = state[name]
                self.loaded.append(name)
            else:
                self._adapt(name, state[name], tuple(target.shape))
        self.unexpected = [n for n in state if n not in self.wanted and n not in self._head_names]

    def _take_head(self, head: dict[str, Tensor]) -> None:
        here = {name: linear.out_features for name, linear in self.model.heads.items()}
        classes = ", ".join(f"{name} has {count}" for name, count in here.items())
        if "weight" not in head:
            self.head = f"as initialised: the file has none ({classes})"
            return
        count = len(head["weight"])
        fitting = [name for name, own in here.items() if own == count]
        if not fitting:
            self.head = f"as initialised: the file has {count} classes, {classes}"
            return
        self.heads = self._match_heads(fitting, count)
        if not self.heads:
            return
        first = self.model.heads[next(iter(self.heads))]
        shapes = {k: v.shape for k, v in first.state_dict().items()}
        for key, value in head.items():
            # In some libraries the classifier is a 1x1x1 convolution.
            fitted = value if key == "bias" else value.flatten(1)
            if fitted.shape != shapes[key]:
                name = f"{self.architecture.head_name}.{key}"
                self.mismatched.append(Changed(name, tuple(value.shape), tuple(shapes[key])))
                self.heads = {}
            self.head_state[key] = fitted
        lacking = [key for key in shapes if key not in head]
        self.missing += [f"{self.architecture.head_name}.{key}" for key in lacking]
        if lacking or not self.heads:
            self.heads, self.head_state, self.is_order_assumed = {}, {}, False
        ends = f"for {', '.join(self.heads)}" if self.heads else "as initialised: it does not fit"
        self.head = f"{count} classes, {ends}"
        if any(rows != sorted(rows) for rows in self.heads.values()):
            self.head += ", rows reordered by class name"
        if self.is_order_assumed:
            self.head += (
                "; the file does not name them, so their order is taken to be the dataset's (a "
                f"{LABELS_NAME} beside the file, one name per line, lets it be checked)"
            )

    def _match_heads(self, fitting: Sequence[str], count: int) -> dict[str, list[int]]:
        """Return name of a classifier to fill -> for each of its rows, the row in the file."""
        if len(self.found_names) != count:
            self.is_order_assumed = any(name in self.class_names for name in fitting)
            return {name: list(range(count)) for name in fitting}
        matched = {}
        for name in fitting:
            wanted = self.class_names.get(name, self.found_names)
            rows = match_rows(self.found_names, wanted)
            if rows is None:
                difference = describe_difference(self.found_names, wanted, dataset=name)
                self.head = f"as initialised: {difference}"
            else:
                matched[name] = rows
        return matched

    def _adapt(self, name: str, value: Tensor, shape: tuple[int, ...]) -> None:
        adapted = adapt(
            name,
            value,
            shape,
            patch=self._patch(),
            clip=self._clip(),
            trained_clip=self.trained_clip,
        )
        if adapted is None:
            self.mismatched.append(Changed(name, tuple(value.shape), shape))
        else:
            self.state[name] = adapted.value
            self.adapted.append(Changed(name, tuple(value.shape), shape, adapted.how))

    def _patch(self) -> tuple[int, ...]:
        """Return the kernel size of the first layer, the one with three input channels."""
        for value in self.wanted.values():
            if value.ndim in (4, 5) and value.shape[1] == 3:
                return tuple(value.shape[2:])
        return ()

    def _clip(self) -> Clip | None:
        arguments = self.architecture.arguments
        if "num_frames" in arguments and "crop_size" in arguments:
            return Clip(arguments["num_frames"], arguments["crop_size"])
        return None


def _published_clip(architecture: Architecture) -> Clip:
    published = get_size(architecture.name).model_input
    return Clip(published.num_frames, published.crop_size)


def _apply_patterns(
    state: Mapping[str, Tensor], patterns: Sequence[Sequence[str]]
) -> dict[str, Tensor]:
    if not patterns:
        return dict(state)
    changed: dict[str, Tensor] = {}
    for old, value in state.items():
        name = old
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        if name in changed:
            raise InputError(f"WEIGHTS_RENAME makes two tensors {name!r}, one of them of {old!r}")
        if name:
            changed[name] = value
    return changed


def _unwrap_ours(
    state: Mapping[str, Tensor], model: VideoClassifier
) -> tuple[dict[str, Tensor], str, str]:
    """Rename a state dict of videokd to the network's names; other state dicts do not change.

    Returns:
        The state dict, a note about its classifiers, and the prefix of the selected classifier.
    """
    if all(name.startswith(("model.", "objective.")) for name in state):
        # A checkpoint also holds trained parts of the task, under "objective.".
        ours = {n.removeprefix("model."): v for n, v in state.items() if n.startswith("model.")}
    else:
        ours = dict(state)
    if not all(name.startswith(("backbone.net.", "heads.")) for name in ours):
        return dict(state), "", ONLY_HEAD
    datasets = sorted({name.split(".")[1] for name in ours if name.startswith("heads.")})
    known = [name for name in datasets if name in model.heads] or datasets
    unwrapped = {n.removeprefix("backbone.net."): v for n, v in ours.items() if n[0] == "b"}
    # With several classifiers, none of them can be selected.
    if len(known) == 1:
        for key in ("weight", "bias"):
            unwrapped[f"{model.backbone.head_name}.{key}"] = ours[f"heads.{known[0]}.{key}"]
    return (
        unwrapped,
        f"a model of videokd's with classifiers for {', '.join(datasets) or 'nothing'}",
        f"heads.{known[0]}" if known else ONLY_HEAD,
    )


def _match_prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict with a prefix added if the network's names need one to match."""
    if not wanted.keys() & state.keys():
        for prefix in {name.split(".")[0] for name in wanted}:
            inside = {f"{prefix}.{name}": value for name, value in state.items()}
            if wanted.keys() & inside.keys():
                return inside
    return dict(state)
