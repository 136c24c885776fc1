"""Markdown page of a study, built from its results; handwritten notes are kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from videokd.study.markdown import Section, markdown_table
from videokd.study.overview import curve_table, curves, sentences

_NOTES = ("<!-- notes -->", "<!-- /notes -->")
# Level below which a difference is marked as significant.
_ALPHA = 0.05


def make_page(
    results: Mapping[str, Any], sections: Sequence[Section], *, name: str, old_page: str = ""
) -> str:
    """Return the page as Markdown.

    Args:
        results: From ``make_results``.
        sections: Sections of the feature analysis; may be empty.
        name: Name of the study: page title, and folder of the pictures beside the page.
        old_page: Previous page; the text between <!-- notes --> and <!-- /notes --> is kept.
    """
    groups: dict[str, list[str]] = {}
    for variant, definition in results["definitions"].items():
        groups.setdefault(definition["group"], []).append(variant)
    tables = [
        f"### {group}\n\n{_accuracy_table(results, names)}" for group, names in groups.items()
    ]
    differences = {group: _comparison_table(results, names) for group, names in groups.items()}
    blocks = [
        f"# Study: {name}",
        *_overview(results, name),
        _describe_run(results),
        "## Accuracy",
        _describe_accuracy(results),
        tables[0],
        keep_notes(old_page),
        *tables[1:],
        *_curve_section(results, name),
        "## Differences",
        _describe_comparisons(results),
        *(f"### {group}: differences\n\n{text}" for group, text in differences.items() if text),
        "## Training",
        _TRAINING_TEXT,
        _training_table(results),
        *(_show_section(section, name) for section in sections),
        "## Variants and settings",
        _variant_table(results),
        "Settings that differ from the defaults:",
        _setting_list(results),
    ]
    return "\n\n".join(blocks) + "\n"


def _overview(results: Mapping[str, Any], folder: str) -> list[str]:
    texts = sentences(results)
    if not texts:
        return []
    picture = f"![Differences between the reference and each variant]({folder}/forest.png)"
    return [picture, "\n".join(f"- {text}" for text in texts)]


def _curve_section(results: Mapping[str, Any], folder: str) -> list[str]:
    if not curves(results):
        return []
    picture = f"![Accuracy against clip passes]({folder}/curves.png)"
    return ["## Accuracy against cost", picture, curve_table(results)]


def keep_notes(old_page: str) -> str:
    """Return the notes of a page with their markers; empty notes if it has none."""
    start, end = old_page.find(_NOTES[0]), old_page.find(_NOTES[1])
    if start < 0 or end < start:
        return "\n".join(_NOTES)
    return old_page[start : end + len(_NOTES[1])]


def _describe_run(results: Mapping[str, Any]) -> str:
    seconds, machine, data = (results[key] for key in ("seconds", "environment", "data"))
    kinds = ", ".join(
        f"{kind['num_trainings']} x {name} {_minutes(kind['seconds'])}"
        for name, kind in seconds["by_kind"].items()
    )
    generated = ""
    if "profile" in data:
        generated = (
            f"embedded, profile {data['profile']}, generator version {data['generator_version']}, "
            f"seed {data['generator_seed']}; "
        )
    videos = ", ".join(
        f"{name} {d['num_train']} / {d['num_val']} / {d['num_test']}"
        for name, d in data["datasets"].items()
    )
    device = machine["gpu"] if machine["gpu"] != "none" else "no GPU"
    lines = [
        f"- {results['date']}, commit {machine['commit'][:10]}: `{results['command']}`",
        f"- Training time {_minutes(seconds['training'])} in all ({kinds}); "
        f"the command itself took {_minutes(seconds['wall'])}.",
        f"- Machine: {machine['cores']} cores, {device}, torch {machine['versions']['torch']}; "
        f"per process {machine['num_threads']} threads, {machine['num_workers']} loader workers.",
        f"- Data: {generated}videos for training / held out / test: {videos}.",
    ]
    if results["missing"]:
        names = ", ".join(f"{m['variant']} seed {m['seed']}" for m in results["missing"])
        lines.append(f"- **Not finished, in no number below: {names}.**")
    return "\n".join(lines)


def _describe_accuracy(results: Mapping[str, Any]) -> str:
    split = {
        "val": "the held-out part of the training split (choices are made on it)",
        "test": "the test split",
    }[results["split"]]
    chances = [(name, 100 / d["num_classes"]) for name, d in results["data"]["datasets"].items()]
    chance = ", ".join(f"{name} {value:.1f}" for name, value in chances)
    return (
        f"Top-1 in percent on {split}: mean +- standard deviation over seeds "
        f"({', '.join(map(str, results['seeds']))} unless a row states others). "
        f"Chance: {chance}. Cost of all trainings of a row, experts and teachers included: clip "
        "passes (the forward of one clip through the first student is 1, forward and backward 3, "
        "other networks by their multiply-adds), minutes on this machine; then parameters and "
        "number of the networks that classify all datasets."
    )


def _accuracy_table(results: Mapping[str, Any], names: Sequence[str]) -> str:
    columns = [*results["data"]["datasets"], "mean"]
    rows = []
    for name in names:
        definition, accuracies = results["definitions"][name], results["variants"][name]
        seeds = definition["seeds"]
        is_all = seeds == results["seeds"]
        title = definition["title"] + ("" if is_all else f" (seeds {', '.join(map(str, seeds))})")
        cells = [_accuracy(accuracies[c]) if c in accuracies else "-" for c in columns]
        rows.append([title, *cells, *_costs(results["cost"][name])])
    cost_columns = ("thousand passes", "minutes", "parameters", "networks")
    return markdown_table(["", *columns, *cost_columns], rows)


def _costs(cost: Mapping[str, Any]) -> tuple[str, ...]:
    passes, parameters = cost["clip_passes"] / 1000, cost["parameters"]
    return (f"{passes:,.0f}", f"{cost['minutes']:.1f}", f"{parameters:,}", str(cost["networks"]))


def _accuracy(numbers: Mapping[str, Any]) -> str:
    std = numbers["top1_std"]
    return f"{numbers['top1_mean']:.1f}" + ("" if std is None else f" +- {std:.1f}")


def _describe_comparisons(results: Mapping[str, Any]) -> str:
    reference = results["definitions"].get(results["reference"])
    if not results["comparisons"]:
        return f"None: the reference, {results['reference']}, is not among the variants."
    first = f"{reference['title']} minus" if reference else "Minus"
    return (
        f"{first} the variant of the row, or the difference that the row names, points of top-1 "
        "on the seeds that both have, with the 95 % paired bootstrap interval over videos (over "
        "the groups that clips were cut from, where the dataset names them); 'with seeds': over "
        "videos and seeds, "
        f"of the mean. * marks differences with p < {_ALPHA} after Holm's correction over all "
        "differences of the table (permutation test that exchanges the two networks' answers "
        "video by video). The p values on the right are those of the mean, with the videos of all "
        "datasets pooled; McNemar's takes a video under two seeds for two videos and is too small."
    )


def _comparison_table(results: Mapping[str, Any], names: Sequence[str]) -> str:
    columns = list(results["data"]["datasets"])
    columns += ["mean"] if len(columns) > 1 else []
    found = {(c["b"], c["dataset"]): c for c in results["comparisons"]}
    rows = []
    for name in names:
        last = found.get((name, columns[-1]))
        if last is None:
            continue
        cells = [_difference(found[name, c]) if (name, c) in found else "-" for c in columns]
        over_seeds = "-"
        if last["low_seeds"] is not None:
            over_seeds = f"[{last['low_seeds']:+.1f}, {last['high_seeds']:+.1f}]"
        p_values = [_p_value(last[key]) for key in ("mcnemar_p", "permutation_p", "holm_p")]
        title = results["definitions"][name]["title"]
        if last["a"] != results["reference"]:
            title = f"{results['definitions'][last['a']]['title']} - {title}"
        rows.append([title, *cells, over_seeds, *p_values])
    header = ["minus", *columns, "with seeds", "McNemar p", "permutation p", "Holm p"]
    return markdown_table(header, rows) if rows else ""


def _difference(comparison: Mapping[str, Any]) -> str:
    mark = " *" if comparison["holm_p"] < _ALPHA else ""
    low, high = comparison["low"], comparison["high"]
    return f"{comparison['difference']:+.1f} [{low:+.1f}, {high:+.1f}]{mark}"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


_TRAINING_TEXT = (
    "From the training logs, means over seeds and datasets. Top-1 is of the last logged steps' "
    "clips, augmented; agreement: how often student and teacher name the same class there; "
    "features: the terms of the loss, unweighted, from the first logged line to the last."
)


def _training_table(results: Mapping[str, Any]) -> str:
    rows = []
    for name, log in results["training"].items():
        shares = [
            f"{log[key]:.1f}" if key in log else "-"
            for key in ("top1", "agreement", "teacher_top1")
        ]
        terms = [f"{key} {a:.3g} -> {b:.3g}" for key, (a, b) in log["feat"].items()]
        title = results["definitions"][name]["title"]
        rows.append([title, f"{log['steps']:.0f}", *shares, "; ".join(terms) or "-"])
    header = ["", "steps", "train top-1", "agreement", "teacher's top-1", "features"]
    return markdown_table(header, rows)


def _show_section(section: Section, folder: str) -> str:
    pictures = [f"![{section.title}]({folder}/{file})" for file in section.pictures]
    return "\n\n".join([f"## {section.title}", *pictures, section.text])


def _variant_table(results: Mapping[str, Any]) -> str:
    rows = []
    for name, definition in results["definitions"].items():
        opts = definition["opts"]
        texts = [f"`{key} {value}`" for key, value in zip(opts[::2], opts[1::2], strict=True)]
        rows.append([name, definition["title"], definition["row"], ", ".join(texts) or "-"])
    return markdown_table(["variant", "title", "row", "over the settings"], rows)


def _setting_list(results: Mapping[str, Any]) -> str:
    return "\n".join(f"- `{key}: {value}`" for key, value in results["settings"].items())


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
