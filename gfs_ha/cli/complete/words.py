"""What could stand at the end of a command line: commands, options, or what a parameter names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
from click.shell_completion import CompletionItem, ShellComplete

from gfs_ha.cli.complete.shells import Candidate
from gfs_ha.cli.options import Options

# What a parameter names, by the word that stands for it in the help.
LOCAL, REMOTE, CHUNK, SERVER, MASTER, MEMBER, JOB, RACK, CONTEXT, CODE, RULE, DISK = (
    *("local", "remote", "chunk", "server", "master", "member", "job", "rack", "context"),
    *("code", "rule", "disk"),
)
FINDING = "finding"  # A code of `admin health`.
RELATIVE = "relative"  # A local name, but none that is absolute: those are remote.
HERE = (LOCAL, RELATIVE, CONTEXT, CODE, FINDING, RULE)  # Nobody is asked for these.
_BY_METAVAR = {
    "FILE": (LOCAL,),
    "DIR": (REMOTE,),
    "LOCAL": (LOCAL,),
    "REMOTE": (REMOTE,),
    "PATH": (REMOTE,),
    "CHUNK": (CHUNK,),
    "DISK": (DISK,),
    "SERVER": (SERVER,),
    "RACK": (RACK,),
    "CONTEXT": (CONTEXT,),
    "JOB": (JOB,),
    "CODE": (CODE,),
    "RULE": (RULE,),
    "SOURCE": (REMOTE,),
    "TARGET": (REMOTE,),
}
# Where the word in the help says nothing: by command, then by the parameter's name.
_BY_COMMAND = {
    ("masters", "*"): (MASTER,),
    ("chunkservers", "name"): (SERVER,),
    ("chunkservers", "names"): (SERVER,),
    ("ok-to-stop", "*"): (SERVER,),
    ("local", "names"): (MEMBER,),
    ("local", "old"): (MASTER,),
    ("health", "code"): (FINDING,),
    ("health", "codes"): (FINDING,),
    ("sync", "*"): (LOCAL, REMOTE),
    ("checksum", "paths"): (RELATIVE, REMOTE),
    ("checksum", "--base"): (RELATIVE, REMOTE),
    ("doctor", "--target"): (LOCAL,),
    ("bench", "--dir"): (REMOTE,),
    ("--server", "*"): (SERVER,),
    ("--lose", "*"): (SERVER,),
    ("--dir", "*"): (LOCAL,),
    ("--context", "*"): (CONTEXT,),
}

Lookup = Callable[[str, Options, str], Sequence[Candidate]]


class Words(ShellComplete):
    """Finds what could stand there, by click's own reading of the words.

    Args: `look_up` returns the names of a kind that begin with a text.
    """

    name = "words"
    source_template = ""

    def __init__(self, root: click.Command, options: Options, look_up: Lookup) -> None:
        super().__init__(root, {"obj": options}, "gfsctl", "")
        self._options = options
        self._look_up = look_up

    def candidates(self, before: Sequence[str], last: str) -> list[Candidate]:
        """Return what could be put for the last word, all of it, also what is there of it."""
        args = list(before)
        from click.shell_completion import _resolve_context, _resolve_incomplete

        context = _resolve_context(self.cli, self.ctx_args, self.prog_name, list(args))
        wanted, text = _resolve_incomplete(context, args, last)
        kept = last[: len(last) - len(text)] if last.endswith(text) else ""
        if isinstance(wanted, click.Parameter):
            found = self._of_parameter(context, wanted, text)
        else:
            found = [_candidate(one) for one in wanted.shell_complete(context, text)]
        return [Candidate(kept + one.value, one.meaning) for one in found]

    def _of_parameter(
        self, context: click.Context, wanted: click.Parameter, text: str
    ) -> list[Candidate]:
        items = wanted.shell_complete(context, text)
        if items:
            return [_candidate(one) for one in items]
        found: list[Candidate] = []
        for kind in kinds_of(context, wanted):
            found += self._look_up(kind, self._options, text)
        return found


def kinds_of(context: click.Context, parameter: click.Parameter) -> tuple[str, ...]:
    """Return what the next value of a parameter names; nothing if nobody can know."""
    metavar = parameter.metavar or (parameter.name or "").upper()
    metavar = metavar.replace("...", "").replace("…", "")
    if isinstance(parameter, click.Option):
        told = _told(context, parameter.opts)
        for name in parameter.opts:
            told = told or _BY_COMMAND.get((name, "*"))
    else:
        names = metavar.split()
        if len(names) == 2 and names != ["SOURCE", "TARGET"]:
            first, last = (_BY_METAVAR.get(name.strip("[]"), ()) for name in names)
            given = context.params.get(parameter.name or "")
            return (*first, *last) if given else first
        told = _told(context, (parameter.name or "", "*"))
    if told is not None:
        return told
    found: list[str] = []
    for name in metavar.split()[0].strip("[]").split("|") if metavar else ():
        found += _BY_METAVAR.get(name, ())
    return tuple(found)


def _told(context: click.Context, names: Sequence[str]) -> tuple[str, ...] | None:
    """Return what is said of the first of some names, by the command or by one around it."""
    place: click.Context | None = context
    while place is not None:
        for name in names:
            if (found := _BY_COMMAND.get((place.info_name or "", name))) is not None:
                return found
        place = place.parent
    return None


def _candidate(item: CompletionItem[str]) -> Candidate:
    return Candidate(str(item.value), (item.help or "").split("\n")[0])
