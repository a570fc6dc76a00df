"""Model cards in Markdown: what a brick or generalist says of itself, and what its people add."""

from medlego.evaluation.model_card.evaluated import Evaluated
from medlego.evaluation.model_card.facts import Facts
from medlego.evaluation.model_card.write import brick_card, generalist_card

__all__ = ["Evaluated", "Facts", "brick_card", "generalist_card"]
