"""medlego hub push | pull"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from medlego.cli import options
from medlego.cli.terminal import Terminal


def push_command(
    terminal: Terminal,
    path: Annotated[Path, Argument(metavar="BRICK | DIR", help="A brick or a generalist.")],
    repository: Annotated[str, Argument(metavar="OWNER/NAME[@BRANCH]", help="Made if need be.")],
    *,
    facts: options.FactsFile = None,
    evaluation: options.EvaluationFile = None,
    public: Annotated[
        bool, Option("--public", help="Let everybody read a repository that is made.")
    ] = False,
) -> None:
    """Publish a brick or a generalist with its model card on the Hugging Face hub.

    One commit; the signature beside a brick goes with it. Your token is that of hf auth login or
    HF_TOKEN, the hub's address HF_ENDPOINT.

    Example:
        medlego hub push brain.safetensors hospital/brain-mri --facts facts.toml
        medlego hub push generalist hospital/radiology
    """
    from medlego.evaluation import Evaluated, Facts
    from medlego.exchange import push_to_hub

    stated = Facts() if facts is None else Facts.load(facts)
    evaluated = None if evaluation is None else Evaluated.load(evaluation)
    with terminal.progress() as show:
        commit = push_to_hub(
            path, repository, facts=stated, evaluated=evaluated, public=public, show=show
        )
    terminal.say(f"pushed {path} to {repository}, commit {commit}")
    terminal.emit({"repository": repository, "commit": commit})


def pull_command(
    terminal: Terminal,
    repository: Annotated[
        str, Argument(metavar="OWNER/NAME[@REVISION]", help="A branch, a tag or a commit.")
    ],
    output: Annotated[Path, Option("--output", "-o", help="Brick file or directory to write.")],
    *,
    trust: Annotated[
        Path | None,
        Option(help="Trust file: every brick and every entry of a lineage must be signed by it."),
    ] = None,
) -> None:
    """Fetch a brick or a generalist from the Hugging Face hub, and check it before it lands.

    A generalist is merged anew from its bricks, as edit verify does.

    Example:
        medlego hub pull hospital/brain-mri@v1 -o brain.safetensors --trust trust.toml
    """
    from medlego.bricks import Brick
    from medlego.exchange import from_hub

    with terminal.progress() as show:
        copy = from_hub(repository, output, trust=trust, show=show)
    content = copy.content
    kind = "brick" if isinstance(content, Brick) else "generalist"
    digest = content.digest if isinstance(content, Brick) else content.recipe.digest
    terminal.say(f"wrote {copy.path}: {kind} {digest[:12]} of commit {copy.commit}")
    if trust is None:
        terminal.note("no signature was checked; --trust does")
    else:
        terminal.say(f"signed by {', '.join(copy.signed_by)}")
    terminal.emit(
        {
            "repository": copy.repository,
            "commit": copy.commit,
            "output": str(copy.path),
            "kind": kind,
            "digest": digest,
            "signed_by": list(copy.signed_by),
        }
    )
