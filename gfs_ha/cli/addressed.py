"""Which cluster a command works on: exactly one, whatever its words call it.

A path of one cluster must never be taken for a path of another one, so everything that could mean
two clusters is an error that names both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gfs_ha.cli.names import SCHEME, printable, remote_path
from gfs_ha.cli.options import Options
from gfs_ha.errors import ConfigError, GfsError, UsageError, WrongCluster

if TYPE_CHECKING:
    from gfs_ha.config import Config


class Addressed:
    """The configuration of the cluster that a command means; found when it is asked for."""

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        self._options = options
        self._environ = environ
        self._config: Config | None = None
        self._strayed = ""  # A path that led to another cluster than the configured one.

    @property
    def config(self) -> Config:
        """Return the cluster's configuration. Raises: ConfigError, NotFound."""
        if self._config is None:
            self._config = self._configured()
        return self._config

    def remote_path(self, text: str) -> str:
        """Return the remote path that a word names; its cluster is the command's from now on.

        Raises: UsageError when it is no remote path; WrongCluster when its cluster is not known, or
        is not that of the words before.
        """
        if text.startswith(SCHEME):
            named, _, rest = text[len(SCHEME) :].partition("/")
            if not named:
                raise UsageError(
                    f"'{printable(text)}' names no cluster; write {SCHEME}NAME/path, or only /path"
                )
            cluster_id = self._go_to(named, text).cluster.id
            return remote_path(f"{SCHEME}{cluster_id}/{rest}", self.config.cluster)
        if self._strayed and text.startswith("/"):
            raise WrongCluster(
                f"{printable(text)} is in the configured cluster, {printable(self._strayed)} is in "
                f"{self.config.cluster.id!r}: one command works on one cluster; write "
                f"{SCHEME}{self.config.cluster.id}{printable(text)} if you mean that one"
            )
        return remote_path(text, self.config.cluster)

    def _configured(self) -> Config:
        from gfs_ha.config import find, load

        return load(find(self._options.config, self._environ, self._options.context))

    def _go_to(self, named: str, text: str) -> Config:
        """Return the configuration of the cluster of that name or id, or of that context."""
        if self._options.config or self._options.context:
            if not _fits(self.config, named) and named != self._options.context:
                raise WrongCluster(
                    f"{printable(text)} is in cluster '{printable(named)}', but "
                    f"{self.config.cluster.id!r} is configured; leave out --config and --context, "
                    "or name that cluster's"
                )
            return self.config
        found = self._meant(named)
        if not found:
            raise WrongCluster(self._unknown(named, text))
        if len(found) > 1:
            both = " and ".join(f"{key!r} ({config.path})" for key, config in found.items())
            raise WrongCluster(
                f"{printable(text)}: '{printable(named)}' names two clusters, {both}; say which "
                "one by its id, or with --context"
            )
        (config,) = found.values()
        if self._config is not None and self._config.cluster.id != config.cluster.id:
            raise WrongCluster(
                f"{printable(text)} is in cluster {config.cluster.id!r}, a word before it in "
                f"{self._config.cluster.id!r}: one command works on one cluster"
            )
        if self._config is None:
            default = self._default()
            if default is None or default.cluster.id != config.cluster.id:
                self._strayed = text
            self._config = config
        return self._config

    def _meant(self, named: str) -> dict[str, Config]:
        """Return all that a name could mean, by the id of the cluster."""
        from gfs_ha.config import load
        from gfs_ha.contexts import read_contexts

        found: dict[str, Config] = {}
        default = self._default()
        if default is not None and _fits(default, named):
            found[default.cluster.id] = default
        contexts = read_contexts(self._environ)
        if named in contexts.files:
            config = load(contexts.files[named])
            found.setdefault(config.cluster.id, config)
        if found:
            return found
        for path in contexts.files.values():
            try:
                config = load(path)
            except ConfigError:
                continue  # Of another cluster perhaps; `context ls` tells of it.
            if _fits(config, named):
                found.setdefault(config.cluster.id, config)
        return found

    def _default(self) -> Config | None:
        """Return the configured cluster, None if nothing is configured (or it does not read)."""
        if self._config is not None and not self._strayed:
            return self._config
        try:
            return self._configured()
        except GfsError:
            return None

    def _unknown(self, named: str, text: str) -> str:
        default = self._default()
        configured = f"{default.cluster.id!r} is configured" if default else "none is configured"
        return (
            f"{printable(text)} is in cluster '{printable(named)}', but {configured} and no "
            "context leads there; see gfsctl context ls, or give its file with --config"
        )


def _fits(config: Config, named: str) -> bool:
    return named in (config.cluster.id, config.cluster.name)
