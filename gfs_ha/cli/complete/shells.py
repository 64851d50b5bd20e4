"""What shells say and understand: scripts, the line up to the cursor, words as they take them.

A shell runs `gfsctl` with `_GFSCTL_COMPLETE` and the line in the environment. The first line of the
answer says whether a space follows a word that is the only one; each other line is a word, with
what it means behind a tab where the shell shows that.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

INSTRUCTION = "_GFSCTL_COMPLETE"
LINE = "_GFSCTL_LINE"
BREAKS = "_GFSCTL_BREAKS"  # What bash takes for the end of a word within one, like `:`.
CANDIDATES_MAX = 200

_BASH = """\
# bash completion of gfsctl. Use it: source <(gfsctl completion bash)
_gfsctl_completion() {
    local -a found
    mapfile -t found < <(_GFSCTL_COMPLETE=bash _GFSCTL_LINE="${COMP_LINE:0:COMP_POINT}" \\
        _GFSCTL_BREAKS="$COMP_WORDBREAKS" "$1" 2>/dev/null)
    COMPREPLY=("${found[@]:1}")
    [[ ${found[0]-} == nospace ]] && compopt -o nospace
    return 0
}
complete -o nosort -F _gfsctl_completion gfsctl
"""

_ZSH = """\
#compdef gfsctl
# zsh completion of gfsctl. Use it: source <(gfsctl completion zsh), after compinit; or keep it as
# _gfsctl in a directory of your fpath.
_gfsctl_completion() {
    local line one
    local -a found words_on words_last
    line="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX"
    found=("${(@f)$(_GFSCTL_COMPLETE=zsh _GFSCTL_LINE="$line" "${words[1]}" 2>/dev/null)}")
    for one in "${(@)found[2,-1]}"; do
        one="${one%%$'\\t'*}"
        case "$one" in
            (*/|*=) words_on+=("$one") ;;
            (*) words_last+=("$one") ;;
        esac
    done
    (( $#words_on )) && compadd -S '' -V directories -- "${(@)words_on}"
    (( $#words_last )) && compadd -V words -- "${(@)words_last}"
    return 0
}
if [[ "${zsh_eval_context[-1]}" == loadautofunc ]]; then
    _gfsctl_completion "$@"
else
    compdef _gfsctl_completion gfsctl
fi
"""

_FISH = """\
# fish completion of gfsctl. Use it: gfsctl completion fish | source
function __gfsctl_completion
    set -lx _GFSCTL_COMPLETE fish
    set -lx _GFSCTL_LINE (commandline -cp)
    gfsctl 2>/dev/null | tail -n +2
end
complete --command gfsctl --no-files --keep-order --arguments '(__gfsctl_completion)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_PLAIN = re.compile(r"[A-Za-z0-9_./:=@%+,^~-]", re.ASCII)


class Candidate(NamedTuple):
    """A word that could stand there, and what it means."""

    value: str
    meaning: str = ""


class Typed(NamedTuple):
    """A line up to the cursor: the words before the last one, and that one as far as it is."""

    before: list[str]
    last: str
    quote: str  # The quote that is open in it, or empty.
    raw: str  # The last word as it was typed.


def typed(line: str) -> Typed:
    """Return the words of a line; a quote that is still open is no error."""
    start, quote, escaping = _start_of_last(line)
    raw = line[start:]
    last = shlex.split(raw[:-1] + quote if escaping else raw + quote)
    return Typed(shlex.split(line[:start])[1:], last[0] if last else "", quote, raw)


def answer(
    shell: str, words: Typed, found: Sequence[Candidate], environ: Mapping[str, str]
) -> Iterator[str]:
    """Yield the lines that a shell is told. What a terminal cannot show is left out."""
    shown = [one for one in found if one.value.isprintable()][:CANDIDATES_MAX]
    more = len(shown) == 1 and shown[0].value.endswith(("/", "="))
    yield "nospace" if more else "space"
    for one in shown:
        if shell == "bash":
            yield _for_bash(one.value, words, environ.get(BREAKS, ":="))
        else:
            yield f"{one.value}\t{one.meaning}" if one.meaning and shell == "fish" else one.value


def _start_of_last(line: str) -> tuple[int, str, bool]:
    """Return where the last word begins, the quote that is open, whether a backslash ends it."""
    start, quote, at = 0, "", 0
    while at < len(line):
        letter = line[at]
        if letter == "\\" and quote != "'":
            at += 1
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter.isspace():
            start = at + 1
        at += 1
    return start, quote, at > len(line)


def _for_bash(value: str, words: Typed, breaks: str) -> str:
    """Return a word as bash puts it into the line: quoted, without what it thinks stands there."""
    if words.quote == '"':
        return re.sub(r'([$`"\\])', r"\\\1", value)
    if words.quote:
        return value.replace("'", "'\\''")
    done = max((words.raw.rfind(letter) for letter in breaks if letter in ":=@"), default=-1) + 1
    kept = len(shlex.split(words.raw[:done])[0]) if done else 0
    return "".join(
        letter if _PLAIN.match(letter) or ord(letter) > 127 else f"\\{letter}"
        for letter in value[kept:]
    )
