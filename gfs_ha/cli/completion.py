"""`gfsctl completion`."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.complete.shells import SCRIPTS
from gfs_ha.cli.verb import Verb


@click.command(
    cls=Verb,
    examples="""
    source <(gfsctl completion bash)     # in ~/.bashrc
    source <(gfsctl completion zsh)      # in ~/.zshrc, after compinit
    gfsctl completion fish | source      # in ~/.config/fish/config.fish
    """,
)
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print the script with which a shell completes the words of gfsctl.

    Commands, options, local files, and what the cluster has: paths, servers, chunks, jobs. It is
    asked for those while you type, for less than a second, and silently does without.
    """
    output.write(SCRIPTS[shell].encode())
