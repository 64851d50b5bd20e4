"""The command tree, and one run of it: words in, exit status out."""

from __future__ import annotations

import os

import click

from gfs_ha.cli import output
from gfs_ha.cli.failure import conclude
from gfs_ha.cli.options import Options, common_options, wanted_output
from gfs_ha.cli.verb import HELP, Family, Row

_DATA = "gfs_ha.cli.data"
_ADMIN = "gfs_ha.cli.admin"

DATA_VERBS = {
    "put": Row(f"{_DATA}.put", "put", "Copy local files into the cluster"),
    "get": Row(f"{_DATA}.get", "get", "Copy files out of the cluster"),
    "ls": Row(f"{_DATA}.ls", "ls", "List directories"),
    "tree": Row(f"{_DATA}.tree", "tree", "Draw all that is below a directory"),
    "find": Row(f"{_DATA}.find", "find", "Find files by name, size, age and copies"),
    "du": Row(f"{_DATA}.du", "du", "What directories hold, and what it takes on disks"),
    "df": Row(f"{_DATA}.df", "df", "Space of the cluster: used, free, how much more fits"),
    "count": Row(f"{_DATA}.count", "count", "Count directories, files and bytes"),
    "cat": Row(f"{_DATA}.cat", "cat", "Write files to standard output"),
    "head": Row(f"{_DATA}.head", "head", "Show the beginning of a file"),
    "tail": Row(f"{_DATA}.tail", "tail", "Show the end of a file, and follow it"),
    "append": Row(f"{_DATA}.append", "append", "Append records, each exactly once"),
    "stat": Row(f"{_DATA}.stat", "stat", "Show all facts of a name"),
    "touch": Row(f"{_DATA}.touch", "touch", "Make empty files, or set times"),
    "mkdir": Row(f"{_DATA}.mkdir", "mkdir", "Make directories"),
    "mv": Row(f"{_DATA}.mv", "mv", "Rename or move files and directories"),
    "cp": Row(f"{_DATA}.cp", "cp", "Copy files in the cluster, without their bytes"),
    "truncate": Row(f"{_DATA}.truncate", "truncate", "Cut files"),
    "setrep": Row(f"{_DATA}.setrep", "setrep", "Change how many copies files want"),
    "policy": Row(f"{_DATA}.policy", "policy", "How new files below a directory are kept"),
    "rm": Row(f"{_DATA}.rm", "rm", "Remove files and directories"),
    "sync": Row(f"{_DATA}.sync", "sync", "Make one tree like another, one way"),
    "check": Row(f"{_DATA}.check", "check", "Compare a local tree with a remote one"),
    "checksum": Row(f"{_DATA}.checksum", "checksum", "Show or check CRC-32C of whole files"),
    "context": Row("gfs_ha.cli.context", "context", "Several clusters, by their names here"),
    "completion": Row("gfs_ha.cli.completion", "completion", "Complete words in bash, zsh, fish"),
    "bench": Row("gfs_ha.cli.bench", "bench", "Measure the cluster from this machine"),
    "doctor": Row("gfs_ha.cli.doctor", "doctor", "What is wrong between here and the cluster"),
    "explain": Row("gfs_ha.cli.explain", "explain", "What a code, path, job or server is about"),
    "admin": Row(f"{_ADMIN}.family", "admin", "For operators: status, health, masters, chunks"),
    "local": Row("gfs_ha.cli.local", "local", "A real cluster of processes on this machine"),
    "version": Row("gfs_ha.cli.version", "version", "Show the version of this program"),
}

EXAMPLES = """
gfsctl local up                     # a cluster on this machine
gfsctl put report.pdf /docs/        # copy a file in
gfsctl put -r src /backup           # copy a tree in
gfsctl get /docs/report.pdf .       # copy a file out, verified
gfsctl admin status                 # how is the cluster?
"""


def root() -> Family:
    """Return the whole command tree; modules are imported as commands are used."""
    return Family(
        "gfsctl",
        rows=DATA_VERBS,
        examples=EXAMPLES,
        params=list(common_options(with_environment=True)),
        help="gfs-ha: a distributed file system whose master is no single point of failure.",
        context_settings=HELP | {"auto_envvar_prefix": "GFS", "max_content_width": 100},
        invoke_without_command=False,
        no_args_is_help=True,
    )


def run(words: list[str]) -> int:
    """Run one command line; return its exit status. Every error ends as one line here."""
    if words[:1] == ["--version"]:
        words = ["version", *words[1:]]  # What everybody tries first.
    options = Options(color="NO_COLOR" not in os.environ)
    try:
        with root().make_context("gfsctl", list(words), obj=options) as context:
            context.command.invoke(context)
        output.flush()
        return 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return 2
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (Exception, KeyboardInterrupt) as error:
        machine_readable = options.machine_readable or wanted_output(words) in ("json", "jsonl")
        return conclude(error, machine_readable, options.verbose)
