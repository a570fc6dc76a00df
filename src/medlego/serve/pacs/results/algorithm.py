"""The software that made a result, as the result names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medlego import __version__
from medlego.generalist import Generalist

NAME = "medlego"
MODEL = "medlego generalist"


@dataclass(frozen=True)
class Algorithm:
    """A generalist by its digests: `bricks` has each task's, `base` a name and a fingerprint."""

    recipe: str
    mode: str
    base: str
    bricks: Mapping[str, tuple[str, ...]]
    version: str = __version__

    @classmethod
    def of(cls, generalist: Generalist) -> Algorithm:
        """What identifies a generalist."""
        return cls(
            recipe=generalist.recipe.digest,
            mode=generalist.recipe.mode,
            base=f"{generalist.base.name} {generalist.base.fingerprint}",
            bricks={
                capability.task.name: tuple(brick.digest for brick in capability.bricks)
                for capability in generalist.capabilities
            },
        )

    @property
    def equipment(self) -> dict[str, Any]:
        """The equipment module of a result, as highdicom's arguments."""
        return {
            "manufacturer": NAME,
            "manufacturer_model_name": MODEL,
            "software_versions": self.version,
            "device_serial_number": self.recipe,
        }

    def parameters(self, task: str | None = None) -> list[str]:
        """Lines for a report: the recipe, and the bricks behind a task's answer.

        In routed mode these are the task's own, in the others all that were merged; without a task
        all that could have answered.
        """
        bricks = {
            name: digests
            for name, digests in self.bricks.items()
            if self.mode != "routed" or task in (None, name)
        }
        lines = [f"recipe {self.recipe}", f"mode {self.mode}", f"base {self.base}"]
        if task is not None:
            lines.append(f"task {task}")
        return lines + [f"brick {name} {d}" for name, digests in bricks.items() for d in digests]
