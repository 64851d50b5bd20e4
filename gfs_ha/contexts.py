"""Which configuration file is meant: named contexts for several clusters, and the usual places.

The contexts of a person lie in one file, `contexts.toml`, beside their `gfs.toml`. It is replaced
as a whole, under a lock, so that two changes at once are both there and nobody reads half of one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from gfs_ha.errors import Busy, ConfigError, LocalError, NotFound
from gfs_ha.runtime import Runtime
from gfs_ha.strict_toml import check_name, read_root, read_text

CONTEXTS_MAX = 100
_LOCK_WAIT_S = 5.0
_HEAD = "# Written by `gfsctl context`: names of clusters, and their configuration files.\n"


@dataclass(frozen=True, slots=True)
class Contexts:
    """The contexts of a person; `current` holds when nothing else is said, empty: none does."""

    place: Path | None  # None: there is no home to keep them in.
    files: Mapping[str, Path] = field(default_factory=dict)
    current: str = ""

    def file(self, name: str) -> Path:
        """Return the configuration file of a context. Raises: NotFound, naming those there are."""
        found = self.files.get(name)
        if found is None:
            known = ", ".join(self.files) or "none yet: gfsctl context add NAME FILE"
            raise NotFound(f"there is no context {name!r}; there are {known}")
        return found


@dataclass(frozen=True, slots=True)
class Chosen:
    """The configuration file that is meant, and why it is that one."""

    path: Path
    why: str
    context: str = ""


def home_directory(environ: Mapping[str, str]) -> Path | None:
    """Return where a person's configuration lies: XDG_CONFIG_HOME/gfs-ha, ~/.config/gfs-ha."""
    above = environ.get("XDG_CONFIG_HOME", "")
    if above.startswith("/"):  # Others are to be ignored, as its specification says.
        return Path(above) / "gfs-ha"
    if environ.get("HOME"):
        return Path(environ["HOME"]) / ".config/gfs-ha"
    return None


def read_contexts(environ: Mapping[str, str]) -> Contexts:
    """Return the contexts; a missing file has none. Raises: ConfigError with file, line and key."""
    directory = home_directory(environ)
    if directory is None:
        return Contexts(None)
    place = directory / "contexts.toml"
    if not place.exists():
        return Contexts(place)
    root = read_root(read_text(place), place).only("current", "contexts")
    table = root.table("contexts")
    files: dict[str, Path] = {}
    for name in table.names():
        try:
            check_name(name)
        except ValueError as error:
            table.fail(name, str(error))
        files[name] = table.table(name).only("config").directory("config", place)
    if len(files) > CONTEXTS_MAX:
        root.fail("contexts", f"{len(files)} contexts; there are at most {CONTEXTS_MAX}")
    current = root.name("current", default="")
    if current and current not in files:
        root.fail("current", f"{current!r} is none of the contexts ({', '.join(files)})")
    return Contexts(place, files, current)


def choose(
    environ: Mapping[str, str], config: str | None = None, context: str | None = None
) -> Chosen:
    """Return the file that is meant: `config` or `context` if given, else what the environment says
    (GFS_CONFIG, GFS_CONTEXT), ./gfs.toml, the current context, the home's gfs.toml, the machine's.

    Raises: ConfigError when nothing names one, or two things name different ones; NotFound.
    """
    if config and context:
        raise ConfigError("--config and --context both name a configuration: give one of them")
    if config:
        return Chosen(Path(config).expanduser(), "--config")
    if context:
        return Chosen(read_contexts(environ).file(context), "--context", context)
    if (named := _named_by_environment(environ)) is not None:
        return named
    places = [Path("gfs.toml")]
    if places[0].exists():
        return Chosen(places[0], "it lies in this directory")
    contexts = read_contexts(environ)
    if contexts.current:
        return Chosen(contexts.file(contexts.current), "gfsctl context use", contexts.current)
    directory = home_directory(environ)
    places += [*([directory / "gfs.toml"] if directory else []), Path("/etc/gfs-ha/gfs.toml")]
    for place in places[1:]:
        if place.exists():
            return Chosen(place, "a usual place")
    looked = ", ".join(str(place) for place in places)
    hint = "; or gfsctl context use NAME" if contexts.files else ""
    raise ConfigError(
        f"no configuration: give --config or set GFS_CONFIG (looked for {looked}){hint}"
    )


def change_contexts(
    environ: Mapping[str, str], runtime: Runtime, act: Callable[[Contexts], Contexts]
) -> Contexts:
    """Replace the contexts by what `act` makes of them, in one step, and return those.

    Raises: what `act` raises, and then nothing is changed; ConfigError without a home; Busy when
    somebody else holds them for long; OSError.
    """
    directory = home_directory(environ)
    if directory is None:
        raise ConfigError("there is no home to keep contexts in: set HOME or XDG_CONFIG_HOME")
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory / "contexts.lock", runtime):
        changed = act(read_contexts(environ))
        if len(changed.files) > CONTEXTS_MAX:
            raise ConfigError(f"there are at most {CONTEXTS_MAX} contexts; remove one before")
        place = directory / "contexts.toml"
        _write(place, _text(changed))
        return replace(changed, place=place)


def _named_by_environment(environ: Mapping[str, str]) -> Chosen | None:
    config, context = environ.get("GFS_CONFIG", ""), environ.get("GFS_CONTEXT", "")
    by_file = Chosen(Path(config).expanduser(), "GFS_CONFIG") if config else None
    if not context:
        return by_file
    by_name = Chosen(read_contexts(environ).file(context), "GFS_CONTEXT", context)
    if by_file is not None and by_file.path.absolute() != by_name.path.absolute():
        raise ConfigError(
            f"GFS_CONFIG says {config}, GFS_CONTEXT={context} says {by_name.path}: unset one of "
            "them, or give --config or --context"
        )
    return by_name


@contextmanager
def _locked(path: Path, runtime: Runtime) -> Iterator[None]:
    end_s = runtime.monotonic_s() + _LOCK_WAIT_S
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if runtime.monotonic_s() >= end_s:
                    raise Busy(f"another process holds {path}; try again") from None
                runtime.sleep(0.02)
        yield  # Closing the file gives the lock back; it stays, so that all lock the same one.


def _text(contexts: Contexts) -> str:
    lines = [_HEAD]
    if contexts.current:
        lines.append(f"current = {_quoted(contexts.current)}\n")
    for name, path in contexts.files.items():
        lines.append(f"\n[contexts.{_quoted(name)}]\nconfig = {_quoted(str(path))}\n")
    return "".join(lines)


def _quoted(text: str) -> str:
    """Return a text as TOML has it; its escapes are those of JSON. Raises: ConfigError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{text!r} is not UTF-8, and cannot be written down") from None
    if not text.isprintable():
        raise ConfigError(f"{text!r} has characters that cannot be shown; give it another name")
    return json.dumps(text, ensure_ascii=False)


def _write(place: Path, text: str) -> None:
    """Replace a file in one step; after a power cut it is the old one or the new one."""
    target = Path(os.path.realpath(place))  # A link (of a dotfiles directory) stays one.
    fresh = target.with_name(f"{target.name}.new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, target)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise LocalError(f"{place}: cannot write the contexts: {error.strerror}") from error
