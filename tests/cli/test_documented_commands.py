"""What documents say to type exists: each command, and each option that stands behind it."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import click
import pytest

from gfs_ha.cli.shell import root

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted(ROOT.glob("docs/**/*.md"))]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def options_of(command: click.Command) -> set[str]:
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {
        "--help"
    }


def gather(command: click.Command, known: dict[str, set[str]]) -> dict[str, set[str]]:
    """Add the options of each command below one, by its name, which may be that of several."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None, name
            known[name] |= options_of(found)
            gather(found, known)
    return known


KNOWN = gather(root(), defaultdict(set))
COMMON = options_of(root())


def wrong(said: str) -> list[str]:
    """Return what does not exist of what a document says to type."""
    words = said.split(" #")[0].split()
    typed = words[:1] == ["gfsctl"]
    words = words[typed:]
    at = 0
    while at < len(words) and set(re.split(r"\\?\|", words[at])) <= KNOWN.keys():
        at += 1
    if not at:
        return [one for one in words[:1] if typed and re.fullmatch("[a-z][a-z-]*", one)]
    there = set.union(COMMON, *(KNOWN[name] for name in re.split(r"\\?\|", words[at - 1])))
    return [one for one in OPTION.findall(" ".join(words[at:])) if one not in there]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_options_that_documents_name_exist(path: Path) -> None:
    text = path.read_text()
    blocks = re.findall(r"```.*?```", text, flags=re.DOTALL)
    typed = [line.partition("#")[0] for block in blocks for line in block.splitlines()]
    said = re.findall(r"gfsctl [^\n;&|]*", "\n".join(typed))
    for block in blocks:
        text = text.replace(block, "")
    said += re.findall(r"`([^`\n]+)`", text)
    assert not {one: found for one in said if (found := wrong(one))}


def test_what_does_not_exist_is_found() -> None:
    assert wrong("gfsctl append --key K") == ["--key"] == wrong("append --key")
    assert wrong("gfsctl lss /") == ["lss"]
    assert not wrong("gfsctl append --id K /log -o json") and not wrong("masters ls --watch")
    assert not wrong("GFS_CONFIG") and not wrong("jobs pause|resume ID")
