"""Takes out of a support archive what nobody else should have: keys, passwords, tickets, tokens."""

from __future__ import annotations

import re
from typing import Any

REMOVED = "(removed)"

_SECRET = r"pass(?:word|wd|phrase)?|pwd|secret|token|ticket|credentials?|cookie|api[-_]?key"
_SECRET += r"|(?:private|access|signing|secret|ssh)[-_]?key|auth(?:orization)?"
_NAME = re.compile(rf"(?:.*[-_.])?(?:{_SECRET})(?:[-_.].*)?", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL)
# password=x, "token": "x y", secret: x; also with a prefix, as in db_password=x.
_PAIR = re.compile(
    rf"""((?<![A-Za-z0-9])(?:[A-Za-z0-9]{{1,40}}[-_.]){{0,4}}(?:{_SECRET})["']?\s*[=:]\s*)"""
    r"""("[^"]*"|'[^']*'|(?:Bearer|Basic|Digest)\s+\S+|[^\s,;&"')\]}]+)""",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/._~=-]{8,}")
# Bounded, as all that stands before what is looked for: else a long name with many dots in it is
# read anew from each of them.
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^/\s@]+@", re.IGNORECASE)


class Redaction:
    """Counts what it takes out."""

    def __init__(self) -> None:
        self.count = 0

    def text(self, text: str) -> str:
        """Return a text without the secrets in it, as far as they can be told."""
        text = self._replaced(_PEM, REMOVED, text)
        text = self._replaced(_PAIR, rf"\1{REMOVED}", text)
        text = self._replaced(_SCHEME, rf"\1 {REMOVED}", text)
        return self._replaced(_USER, rf"\1{REMOVED}@", text)

    def value(self, value: Any) -> Any:
        """Return what JSON is made of, without the values of names that sound like secrets."""
        if isinstance(value, dict):
            return {key: self._field(key, one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return self.text(value) if isinstance(value, str) else value

    def _field(self, key: Any, value: Any) -> Any:
        # Numbers and switches are no secrets: how many tickets, whether there is a password.
        if isinstance(key, str) and _NAME.fullmatch(key) and isinstance(value, str | list):
            if value:
                self.count += 1
                return REMOVED
            return value
        return self.value(value)

    def _replaced(self, pattern: re.Pattern[str], by: str, text: str) -> str:
        text, count = pattern.subn(by, text)
        self.count += count
        return text
