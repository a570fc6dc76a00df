"""What the results' page says of data: their leaks, and how fast they are read and answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.markdown import table

_DETECTORS = {
    "check": "data check",
    "remembered": "remembered",
    "phash": "pHash",
    "dhash": "dHash",
}


def _leaks(document: dict[str, Any]) -> str:
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in document["rows"]:
        parts.setdefault(row["part"], []).append(row)
    planted = [
        [
            row["kind"],
            str(row["near_duplicates"]),
            *(f"{row['recall'][name]:.3f}" for name in _DETECTORS),
        ]
        for row in parts["planted"]
    ]
    different = [
        [row["set"], str(row["images"]), *(str(row["false_alarms"][name]) for name in _DETECTORS)]
        for row in parts["different"]
    ]
    real = [
        [
            row["set"],
            f"{row['images']:,}",
            str(sum(row["leaks"].values())),
            str(row["contradicting_labels"]),
            ", ".join(f"{name} {max(counts)}" for name, counts in row["pairs"].items()) or "-",
        ]
        for row in parts["as they are"]
    ]
    (search,) = parts["search"]
    limits = ", ".join(
        f"{_DETECTORS[name]} {value:g}" for name, value in document["limits"].items()
    )
    return (
        f"Share of planted near-duplicates that are found, test splits; limits: {limits}.\n\n"
        + table(["kind", "planted", *_DETECTORS.values()], planted)
        + "\nFalse alarms: different images for which a near-duplicate is found.\n\n"
        + table(["set", "images", *_DETECTORS.values()], different)
        + "\nThe real sets as they are.\n\n"
        + table(["set", "images", "leaks", "contradicting labels", "images alike, by split"], real)
        + f"\nCandidates among {search['images']:,} images: {search['seconds']:.1f} s on "
        f"{search['threads']} thread.\n"
    )


def _dicom_reading(document: dict[str, Any]) -> str:
    rows = [
        [row["what"], f"{row['images_per_second']:.0f}", f"{row['ratio']:.1f}"]
        for row in document["rows"]
    ]
    peer = document["rows"][0]
    rate = peer["images"] / peer["peer_seconds"]
    return (
        f"1,000 files of 512 × 512 pixels, read and prepared at 224 px. The peer, {peer['peer']}, "
        f"takes {rate:.1f} images a second on {document['hardware']['cores']} cores.\n\n"
        + table(["files, and who reads them", "images a second", "× training"], rows)
    )


def _dicom_frames(document: dict[str, Any]) -> str:
    rows = [
        [f"{row['frames']:,}", row["lengths"]]
        + [f"{row[name] * 1e3:.1f}" for name in ("seconds", "peer_seconds", "groups_seconds")]
        + [f"{row[name]:.2f}" for name in ("ratio", "groups_ratio")]
        for row in document["rows"]
    ]
    heads = [
        "frames",
        "lengths",
        "medlego, ms",
        "pydicom's header, ms",
        "with a frame's groups, ms",
    ]
    return (
        "The middle frame with its pixels, beside pydicom's header, which parses groups of defined "
        "length only when they are asked for.\n\n" + table([*heads, "× header", "× groups"], rows)
    )


def _many_images(document: dict[str, Any]) -> str:
    job, *memory = document["rows"]
    rows = [[f"{row['images']:,}", f"{row['peak_mib']:.0f}"] for row in memory]
    return (
        f"{job['what']}: {job['images']:,} images in {job['seconds']:.1f} s, "
        f"{job['images_per_second']:.1f} a second; {job['peer']}: {job['peer_seconds']:.1f} s, "
        f"so the job is {job['ratio']:.2f} times as fast. "
        f"{job['answered']:,} images found a task.\n\n"
        + table(["images of a job on the mini base", "peak MiB of its process"], rows)
    )


WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "dicom_frames": _dicom_frames,
    "dicom_reading": _dicom_reading,
    "leaks": _leaks,
    "many_images": _many_images,
}
