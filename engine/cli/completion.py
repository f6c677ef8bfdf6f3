"""`tasker completion`: what a shell needs to complete the words of this command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what a shell needs to complete commands and options. Example: eval "$(tasker completion bash)" """
    made_for = get_completion_class(shell)
    assert made_for is not None
    click.echo(made_for(click.get_current_context().find_root().command, {}, "tasker", "_TASKER_COMPLETE").source())
