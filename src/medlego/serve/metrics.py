"""What Prometheus is told: counts and times, never anything of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from medlego.prediction import Found

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class ServiceMetrics:
    """One service's, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = held = CollectorRegistry()
        ProcessCollector(registry=held)
        PlatformCollector(registry=held)
        name = "medlego_requests"
        self._requests = Counter(name, "Requests.", ("route", "status"), registry=held)
        self._seconds = Histogram(
            "medlego_request_seconds",
            "Time to answer.",
            ("route",),
            buckets=_SECONDS,
            registry=held,
        )
        self._batches = Histogram(
            "medlego_batch_images", "Images answered together.", buckets=_IMAGES, registry=held
        )
        self._answers = Counter("medlego_answers", "Answers.", ("task",), registry=held)
        self._abstained = Counter("medlego_abstentions", "Images of no task.", registry=held)
        self._unreadable = Counter("medlego_unreadable_images", "Images refused.", registry=held)
        self._reloads = Counter(
            "medlego_reloads", "Changes of the directory.", ("outcome",), registry=held
        )
        for outcome in ("reloaded", "refused"):
            self._reloads.labels(outcome)

    def gauge(self, name: str, told: str, value: Callable[[], float]) -> None:
        """A number that is looked up when Prometheus asks."""
        Gauge(name, told, registry=self._registry).set_function(value)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered, by a route as it is declared, not as it was called."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, images: int) -> None:
        """The model answered so many images together."""
        self._batches.observe(images)

    def answered(self, found: Sequence[Found]) -> None:
        """What came of a request's images."""
        for one in found:
            for answer in one.answers:
                self._answers.labels(answer.task.name).inc()
            if not one.answers:
                self._abstained.inc()

    def unreadable(self, images: int) -> None:
        """So many images of a request could not be read."""
        self._unreadable.inc(images)

    def reload(self, outcome: str) -> None:
        """The directory changed: `reloaded` or `refused`."""
        self._reloads.labels(outcome).inc()

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
