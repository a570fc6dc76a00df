"""medlego card"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from medlego.cli import checks, options
from medlego.cli.terminal import Terminal, printable


def command(
    terminal: Terminal,
    path: Annotated[Path, Argument(metavar="BRICK | DIR", help="A brick or a generalist.")],
    output: Annotated[
        Path | None, Option("--output", "-o", help="Markdown file; printed by default.")
    ] = None,
    facts: options.FactsFile = None,
    evaluation: options.EvaluationFile = None,
    force: options.Force = False,
) -> None:
    """Write a model card: Markdown with Hugging Face front matter and CHAI's fields.

    Fields that nobody stated say so. The card describes the files; it checks no signature.

    Example:
        medlego card generalist --facts facts.toml -o README.md
    """
    from medlego.bricks import load_brick, signature_beside
    from medlego.evaluation import Evaluated, Facts, brick_card, generalist_card
    from medlego.generalist import Generalist
    from medlego.support import write_atomically

    if output is not None:
        checks.refuse_existing(output, force)
    stated = Facts() if facts is None else Facts.load(facts)
    evaluated = None if evaluation is None else Evaluated.load(evaluation)
    if path.is_dir():
        text = generalist_card(Generalist.load(path), facts=stated, evaluated=evaluated)
    else:
        signature = signature_beside(path)
        text = brick_card(load_brick(path), facts=stated, evaluated=evaluated, signature=signature)
    if output is not None:
        write_atomically(output, text.encode())
        terminal.say(f"wrote {output}")
        terminal.emit({"output": str(output)})
        return
    if not terminal.json:
        print(printable(text), end="")
    terminal.emit({"card": text})
