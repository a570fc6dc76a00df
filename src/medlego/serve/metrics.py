"""Metrics for Prometheus: counts and times, never anything of an image."""

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

from medlego.prediction import Prediction

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class ServiceMetrics:
    """One service's, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        name, labels = "medlego_requests", ("route", "status")
        self._requests = Counter(name, "Requests.", labels, registry=registry)
        name, about = "medlego_request_seconds", "Time to answer."
        self._seconds = Histogram(name, about, ("route",), buckets=_SECONDS, registry=registry)
        name, about = "medlego_batch_images", "Images answered together."
        self.batches = Histogram(name, about, buckets=_IMAGES, registry=registry)
        self._answers = Counter("medlego_answers", "Answers.", ("task",), registry=registry)
        self._abstained = Counter("medlego_abstentions", "Images of no task.", registry=registry)
        name, about = "medlego_unreadable_images", "Images refused."
        self.unreadable = Counter(name, about, registry=registry)
        name, about = (
            "medlego_tokens",
            "Tokens sent; later: told to wait.",
        )
        self._tokens = Counter(name, about, ("outcome",), registry=registry)
        for outcome in ("right", "wrong", "later"):
            self._tokens.labels(outcome)
        name, about = "medlego_reloads", "Changes of the directory."
        self.reloads = Counter(name, about, ("outcome",), registry=registry)
        for outcome in ("reloaded", "refused"):
            self.reloads.labels(outcome)

    def gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A number that is looked up when Prometheus asks."""
        Gauge(name, about, registry=self._registry).set_function(value)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered, by a route as it is declared, not as it was called."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def token(self, outcome: str) -> None:
        """A token was compared, or had to wait; see `TokenCheck`."""
        self._tokens.labels(outcome).inc()

    def answered(self, images: Sequence[Prediction]) -> None:
        """A request's images were answered."""
        for image in images:
            for answer in image.answers:
                self._answers.labels(answer.task.name).inc()
            if not image.answers:
                self._abstained.inc()

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
