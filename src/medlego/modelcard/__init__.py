"""Model cards in Markdown: what a brick or generalist says of itself, and what its people add."""

from medlego.modelcard.evaluated import Evaluated
from medlego.modelcard.facts import Facts
from medlego.modelcard.write import brick_card, generalist_card

__all__ = ["Evaluated", "Facts", "brick_card", "generalist_card"]
