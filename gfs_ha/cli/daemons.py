"""The commands that run a server: `gfs-master` and `gfs-chunkserver`.

Everything heavy is imported when a server really starts, so that --help is instant.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gfs_ha.errors import ConfigError, GfsError, UsageError

if TYPE_CHECKING:
    from gfs_ha.config import Config

_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("text", "json")

_config_option = click.option(
    "--config",
    "config_file",
    envvar="GFS_CONFIG",
    metavar="FILE",
    help="The TOML file of this process (default: the usual places).",
)
_check_option = click.option(
    "--check-config", is_flag=True, help="Read the file, say whether it is right, and end."
)
_insecure_option = click.option(
    "--insecure",
    is_flag=True,
    help='Listen beyond loopback without TLS: with security = "none", data ports with "tls".',
)
_log_file_option = click.option(
    "--log-file",
    envvar="GFS_LOG_FILE",
    metavar="FILE",
    help="Log there, in files that turn over at 8 MiB (default: standard error).",
)
_log_level_option = click.option(
    "--log-level",
    envvar="GFS_LOG_LEVEL",
    type=click.Choice(_LEVELS),
    default="info",
    show_default=True,
)
_log_format_option = click.option(
    "--log-format",
    envvar="GFS_LOG_FORMAT",
    type=click.Choice(_FORMATS),
    default="text",
    show_default=True,
    help="Lines for people, or one JSON object per line.",
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@_config_option
@click.option(
    "--bootstrap",
    is_flag=True,
    help="Make this an initial member of a new cluster; once, in an empty directory.",
)
@click.option(
    "--recover-from-this-copy",
    "recover",
    is_flag=True,
    help="A majority of the masters is gone for good: go on with this one's copy. Asks first.",
)
@_check_option
@_insecure_option
@_log_file_option
@_log_level_option
@_log_format_option
def master(
    config_file: str | None,
    bootstrap: bool,
    recover: bool,
    check_config: bool,
    insecure: bool,
    log_file: str | None,
    log_level: str,
    log_format: str,
) -> None:
    """Run one master of a gfs-ha cluster until SIGTERM.

    Its file has [cluster] and [master]: name, directory, map_bytes (the most that the store grows
    to), log_bytes (log kept for a master that is away, before a snapshot), dead_after_s.

    \b
    Examples:
      gfs-master --config /etc/gfs-ha/m1.toml --bootstrap   the first start ever
      gfs-master --config /etc/gfs-ha/m1.toml               every other one
      gfs-master --config /etc/gfs-ha/m1.toml --recover-from-this-copy   the others are lost
    """

    def serve() -> int:
        if bootstrap and recover:
            raise UsageError(
                "--bootstrap begins a new cluster, --recover-from-this-copy goes on with an old"
                " one: give one of them"
            )
        config = _load(config_file)
        if config.master is None:
            raise ConfigError(f"{config.path}: has no [master]; this file is not one of a master")
        if check_config:
            return _say_right(config, "master", config.master.name)
        _settle(config, config.master.name, log_level, log_format, log_file)
        from gfs_ha.master.server import recover_master, run_master

        if recover:
            recover_master(config, _ask, insecure)
        return run_master(config, bootstrap=bootstrap, insecure=insecure)

    _run(serve)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@_config_option
@_check_option
@_insecure_option
@_log_file_option
@_log_level_option
@_log_format_option
def chunkserver(
    config_file: str | None,
    check_config: bool,
    insecure: bool,
    log_file: str | None,
    log_level: str,
    log_format: str,
) -> None:
    """Run one chunkserver of a gfs-ha cluster until SIGTERM.

    \b
    Examples:
      gfs-chunkserver --config /etc/gfs-ha/cs1.toml
      gfs-chunkserver --config /etc/gfs-ha/cs1.toml --check-config
    """

    def serve() -> int:
        config = _load(config_file)
        if config.chunkserver is None:
            raise ConfigError(
                f"{config.path}: has no [chunkserver]; this file is not one of a chunkserver"
            )
        if check_config:
            return _say_right(config, "chunkserver", config.chunkserver.name)
        _settle(config, config.chunkserver.name, log_level, log_format, log_file)
        from gfs_ha.chunk.run import run_chunkserver

        return run_chunkserver(config, insecure=insecure)

    _run(serve)


def _load(config_file: str | None) -> Config:
    from gfs_ha import config

    return config.load(config.find(config_file, os.environ).absolute())


def _ask(text: str) -> str:
    """Return the line that a person types; an empty one at the end of the input."""
    try:
        click.echo(f"{text}: ", nl=False, err=True)
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        click.echo("\ninterrupted: nothing was changed", err=True)
        raise
    if not line.endswith("\n"):
        click.echo(err=True)
    return line


def _say_right(config: Config, role: str, name: str) -> int:
    until = ""
    if config.tls_directory is not None:
        from gfs_ha.net.entry import server_credentials
        from gfs_ha.pki.names import Role
        from gfs_ha.runtime import ThreadedRuntime

        credentials = server_credentials(config, Role(role), name, ThreadedRuntime())
        assert credentials is not None, "there is a directory"
        until = f"; its certificate is good until {credentials.certificate.expires:%Y-%m-%d}"
    click.echo(f"{config.path}: right (cluster {config.cluster.id}){until}")
    return 0


def _settle(config: Config, name: str, level: str, form: str, file: str | None) -> None:
    """Open the log, and leave the directory of whoever started us: it may have to go away."""
    from gfs_ha.logs.start import start_logging

    start_logging(name, level, Path(file).absolute() if file else None, form, keep=True)
    os.chdir(config.path.parent)
    # A watchdog ends what hangs by SIGABRT: where each thread hung is the only thing it leaves.
    faulthandler.enable(all_threads=True)


def _run(serve: Callable[[], int]) -> None:
    """End the process with the status of `serve`, or with one line and the error's own."""
    try:
        status = serve()
    except GfsError as error:
        logger = logging.getLogger(__name__)
        if logger.hasHandlers():  # Else it is said below, and nowhere else.
            logger.error("stopped error=%s reason=%s", error.code, error.message)
        print(f"{_mark()}{error.code}: {error.message}", file=sys.stderr)
        status = error.exit_status
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        # The top of the process: whatever comes here is a mistake of ours.
        logging.getLogger(__name__).exception("stopped by an unexpected error")
        traceback.print_exc()
        print(f"{_mark()}InternalError: {type(error).__name__}: {error}", file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.exit(status)


def _mark() -> str:
    """Return what tells the journal that a line is an error; nothing where nobody wants it."""
    from gfs_ha.logs.priorities import is_journal, priority

    return f"<{priority(logging.ERROR)}>" if is_journal(os.environ, 2) else ""


def main() -> None:
    """Run `python -m gfs_ha.cli.daemons master|chunkserver …`, for who has no scripts on PATH."""
    group = click.Group(commands={"master": master, "chunkserver": chunkserver})
    group()


if __name__ == "__main__":
    main()
