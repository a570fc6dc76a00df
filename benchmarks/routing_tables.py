"""What the results' page says of routing, of its speed, and of groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.markdown import deviation, interval, table


def _routing(document: dict[str, Any]) -> str:
    setting, parts = document["setting"], []
    for split in ("test", "val"):
        rows = [row for row in document["rows"] if row["split"] == split]
        lines = [
            [
                f"{row['blocks']}" + " (default)" * row["default"],
                interval(row["top_1"]),
                f"{_mean(row['sets'], 'own'):.3f}",
                f"{_mean(row['sets'], 'unlike'):.3f}",
                f"{row['left_out_mean_auroc']:.4f}",
                _span([scores["auroc"]["value"] for scores in row["left_out"].values()]),
                f"{row['left_out_mean_false_accepts_at_95']:.3f}",
                f"{_mean(row['left_out'], 'false_accepts_at_limit'):.3f}",
            ]
            for row in rows
        ]
        heads = ["blocks", "top-1", "own", "of these atypical", "AUROC", "min to max"]
        heads += ["false accepts at 95 %", "at the limit"]
        parts.append(f"### Split {split}\n\n" + table(heads, lines))
    (row,) = (r for r in document["rows"] if r["split"] == "test" and r["default"])
    strangers = [
        [name, interval(scores["auroc"]), f"{scores['false_accepts_at_limit']:.2f}"]
        for name, scores in row["strangers"].items()
    ]
    devices = [
        [name, *(f"{shares[key]:.3f}" for key in ("own", "unlike", "none", "another"))]
        for name, shares in row["other_devices"].items()
    ]
    private = [
        [
            row["split"],
            f"{row['epsilon']:g}",
            *(f"{row[key]:.3f}" for key in _PRIVATE),
        ]
        for row in document["private"]
    ]
    return (
        "Profiles of five sets after some blocks of the frozen base; their images mixed. *Own*: "
        "sent to their task, means over sets. *AUROC*, *false accepts*: each set left out in turn, "
        "its images against the others', by smallest OOD score; at 95 % accepted known images, "
        f"and at the package's limit of {setting['limit']:g}.\n\n"
        + "\n".join(parts)
        + "\n### Images that nobody knows, beside all five, test\n\n"
        + table(["images", "AUROC", "accepted at the limit"], strangers)
        + "\n### Test images as another device might have made them\n\n"
        + table(["set and change", "own", "of these atypical", "none", "another task"], devices)
        + f"\n### Profiles released with noise, delta {document['private'][0]['delta']:g}\n\n"
        + table(["split", "epsilon", "top-1", "own", "AUROC", "false accepts at limit"], private)
    )


_PRIVATE = ("top_1", "own", "left_out_mean_auroc", "left_out_mean_false_accepts_at_limit")


def _mean(parts: dict[str, Any], key: str) -> float:
    return float(sum(part[key] for part in parts.values()) / len(parts))


def _span(values: list[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"


def _routed(document: dict[str, Any]) -> str:
    rows = document["rows"]
    sets = list(rows[0]["sets"])
    lines = [
        [
            row["method"] + " (default)" * row["default"],
            *(interval(row["sets"][name]["balanced_accuracy"]) for name in sets),
            *(interval(row[f"mean_{n}balanced_accuracy"]) for n in ("", "normalised_")),
            interval(row["minus_linear_probes"]),
            deviation(row["seed_deviation"]),
        ]
        for row in rows
    ]
    heads = ["model", *sets, "mean", "normalised", "mean − probes", "seeds"]
    exact = [
        f"- {check['kind']}: over {check['images']} test images of all sets, shuffled into batches "
        f"of mixed bricks, the running generalist's probabilities differ from the specialists' by "
        f"at most {check['largest_difference']:g}; {check['same_routes']} images took the route "
        "of the table.\n"
        for check in document["exactness"]
    ]
    return (
        "Balanced accuracy on the mixed test images; where the task is unknown, an image that is "
        "sent elsewhere or not answered counts as wrong. *Normalised*: over the plain specialists "
        "that were told the task.\n\n" + table(heads, lines) + "\n" + "".join(exact)
    )


def _routing_speed(document: dict[str, Any]) -> str:
    setting = document["setting"]
    lines = [
        [
            row["name"],
            f"{row['images_per_second']:.1f}",
            f"{row['ratio']:.3f}",
            f"{row['ratio_of_medians']:.3f}",
        ]
        for row in document["rows"]
        if "ratio" in row
    ]
    (switch,) = (row for row in document["rows"] if "ratio" not in row)
    load = ", ".join(f"{x:.1f}" for x in setting["load_average"])
    device = setting.get("device", "cpu")
    where = f"{setting['threads']} threads" if device == "cpu" else device
    return (
        f"{setting['base']} at {setting['image_size']} px, batches of {setting['batch']} images of "
        f"{setting['bricks']} bricks, {where}; the fastest of "
        f"{setting['rounds']} rounds in which all took turns. {setting['right_routes']:.0%} of the "
        "batch was sent to its own task.\n\n"
        + table(["what", "images a second", "ratio to the plain base", "of medians"], lines)
        + f"\n{switch['name'].capitalize()}: {switch['seconds'] * 1e6:.1f} µs. "
        f"Load averages before the run: {load}.\n"
    )


def _groups(document: dict[str, Any]) -> str:
    rows = document["rows"]
    questions = list(rows[0]["questions"])
    lines = [
        [
            row["kind"],
            *(interval(row["questions"][question]) for question in questions),
            interval(row["mean_balanced_accuracy"]),
            interval(row["minus_routed"]),
            f"{row['validation']:.3f}",
        ]
        for row in rows
    ]
    heads = ["mode", *questions, "mean", "− routed", "mean on validation"]
    return (
        "Two questions about each of two sets, each learnt from another half of the training "
        "images. Balanced accuracy on the test splits, task told, mean over seeds; differences are "
        "paired.\n\n" + table(heads, lines)
    )


WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "routing": _routing,
    "routed": _routed,
    "routing_speed": _routing_speed,
    "groups": _groups,
}
