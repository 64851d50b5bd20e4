"""The documents say what is there: tests, rules, keys, codes, links and make targets exist."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from gfs_ha import config
from gfs_ha.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SAFETY = ROOT / "docs/safety.md"
OPERATIONS = ROOT / "docs/operations.md"

_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_RULE = re.compile(r"^### ([A-Z]\d+) ", re.MULTILINE)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_SEVERITIES = {"error": "ERROR", "warning": "WARNING"}


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def names_of_tests(path: Path) -> frozenset[str]:
    """Return the names of the test functions of a module, those of test classes included."""
    tree = ast.parse(text_of(path))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test")
    )


def rules() -> dict[str, str]:
    """Return the text of each rule in docs/safety.md, by its id."""
    parts = re.split(r"^##+ ", text_of(SAFETY), flags=re.MULTILINE)
    numbered = (re.match(r"([A-Z]\d+) ", part) for part in parts)
    return {match.group(1): part for match, part in zip(numbered, parts, strict=True) if match}


def test_every_test_that_safety_names_exists() -> None:
    named = _TEST.findall(text_of(SAFETY))
    assert named
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or name not in names_of_tests(ROOT / path)
    ]
    assert not missing


def test_every_rule_has_an_id_of_its_own_a_test_and_its_reason() -> None:
    twice = [rule for rule, count in Counter(_RULE.findall(text_of(SAFETY))).items() if count > 1]
    assert not twice
    for rule, part in rules().items():
        assert _TEST.search(part), f"{rule} names no test"
        assert "\n- Without: " in part, f"{rule} does not say what goes wrong without it"
        assert "Lives in" in part or "lives in" in part, f"{rule} does not say where it lives"


def test_the_modules_that_safety_names_exist() -> None:
    for rule, part in rules().items():
        places = re.findall(r"Lives in\s([^.]*(?:\.py[^.]*)*)", part)
        for place in re.findall(r"`([\w/]+\.py)`", " ".join(places)):
            found = list((ROOT / "gfs_ha").glob(place if "/" in place else f"**/{place}"))
            assert found, f"{rule}: there is no {place}"


def test_the_configuration_shown_to_operators_is_accepted(tmp_path: Path) -> None:
    block = re.search(r"^```toml\n(.*?)^```", text_of(OPERATIONS), re.MULTILINE | re.DOTALL)
    assert block is not None
    read = config.parse(block.group(1), tmp_path / "gfs.toml")
    assert len(read.cluster.masters) == 3 and read.master and read.chunkserver


def test_the_keys_told_to_operators_are_the_keys_of_the_configuration(tmp_path: Path) -> None:
    table = text_of(OPERATIONS).split("| key | default |")[1].split("\n\n")[0]
    told: set[str] = set()
    for row in table.splitlines()[2:]:
        told.update(re.findall(r"`([a-z_.]+)`", row.split("|")[1]))
    block = re.search(r"^```toml\n(.*?)^```", text_of(OPERATIONS), re.MULTILINE | re.DOTALL)
    assert block is not None
    shown: set[str] = set()
    for section, content in tomllib.loads(block.group(1)).items():
        shown |= {section} if isinstance(content, str) else keys_of(section, content)
    apart = {"security.mode", "security.directory", "security.data", "chunkserver.disks"}
    assert told == shown | apart
    several = re.search(r"^# (disks = .*)$", block.group(1), re.MULTILINE)
    assert several is not None
    own = r'directory = "cs1"\n((?:.*\n)*?)capacity.*\nmounted.*\n'
    changed = re.sub(own, lambda match: f"{several.group(1)}\n{match.group(1)}", block.group(1))
    read = config.parse(changed, tmp_path / "gfs.toml").chunkserver
    assert read is not None and len(read.disks) == 2
    wrong = block.group(1).replace("timeout_s = 30", "timeout_z = 30")
    with pytest.raises(ConfigError, match="timeout_z"):
        config.parse(wrong, tmp_path / "gfs.toml")


def keys_of(section: str, content: dict[str, object]) -> set[str]:
    found: set[str] = set()
    for key, value in content.items():
        if isinstance(value, list):
            found |= {f"{section}.{key}.{name}" for one in value for name in one}
        else:
            found.add(f"{section}.{key}")
    return found


def test_every_key_that_the_configuration_knows_is_told_to_operators() -> None:
    tree = ast.parse(text_of(ROOT / "gfs_ha/config.py"))
    known = {
        argument.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "only"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    told = text_of(OPERATIONS).split("| key | default |")[1].split("\n\n")[0]
    assert known
    assert not [key for key in known if not re.search(rf"[`.]{key}[`.]", told)]


def test_every_finding_of_health_is_told_to_operators() -> None:
    masters = ROOT / "gfs_ha/master"
    rooms = [room for room in sorted(masters.glob("*.py")) if "Finding(" in text_of(room)]
    source = "".join(text_of(room) for room in rooms)
    codes = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', source))
    severities = {
        (code, severity)
        for code, severity in re.findall(r'"([A-Z_]+)",\s+(ERROR|WARNING),', source)
    }
    rows = re.findall(r"^\| `([A-Z_]+)` \| (error|warning) \|", text_of(OPERATIONS), re.MULTILINE)
    told = {(code, _SEVERITIES[severity]) for code, severity in rows}
    assert codes == {code for code, _ in told}
    assert severities <= told


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    prose = _CODE_BLOCK.sub("", text_of(document))
    for target in _LINK.findall(prose):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        found = document.parent / path if path else document
        assert found.exists(), f"{document.name} links to {target}"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{document.name} links to {target}"


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _CODE_BLOCK.sub("", text_of(document)), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def test_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z-]+)", text_of(document)))
        assert named <= targets, f"{document.name} names {sorted(named - targets)}"
