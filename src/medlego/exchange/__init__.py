"""What comes from others and goes to them: store, remotes, screening, formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.exchange.formats.exports import export_onnx, export_timm
    from medlego.exchange.formats.melo import import_melo
    from medlego.exchange.formats.peft import export_peft, import_peft
    from medlego.exchange.hub import HubCopy, from_hub, push_to_hub
    from medlego.exchange.remotes import pull, push
    from medlego.exchange.screening.behaviour import Ordinary
    from medlego.exchange.screening.findings import Screening
    from medlego.exchange.screening.screen import screen
    from medlego.exchange.store import Store, default_store

__all__ = [
    "HubCopy",
    "Ordinary",
    "Screening",
    "Store",
    "default_store",
    "export_onnx",
    "export_peft",
    "export_timm",
    "from_hub",
    "import_melo",
    "import_peft",
    "pull",
    "push",
    "push_to_hub",
    "screen",
]

load_lazily(__name__)
