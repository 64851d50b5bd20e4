"""What a support archive must not hold is taken out, and nothing else."""

from __future__ import annotations

import pytest

from gfs_ha.cli.admin.bundle_redaction import REMOVED, Redaction

SECRET = "hunter2xyzzy"


@pytest.mark.parametrize(
    "text",
    [
        f"password={SECRET}",
        f"db_password = {SECRET} and more",
        f'"token": "{SECRET} with blanks {SECRET}"',
        f"secret: '{SECRET}'",
        f"Authorization: Bearer {SECRET}",
        f"sent Bearer {SECRET} to it",
        f"https://ann:{SECRET}@host/path",
        f"request what=mkdir on=/x?token={SECRET}&b=1 client=a",
        f"private_key={SECRET}",
        f"api-key={SECRET}",
        f"GFS_TICKET={SECRET}",
        f"-----BEGIN PRIVATE KEY-----\nabc\n{SECRET}\n-----END PRIVATE KEY-----",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET} cut off",
    ],
)
def test_a_secret_in_a_text_goes(text: str) -> None:
    redaction = Redaction()
    cleaned = redaction.text(text)
    assert SECRET not in cleaned and REMOVED in cleaned and redaction.count >= 1


@pytest.mark.parametrize(
    "text",
    [
        "request what=publish on=/docs/tokens.md client=ann@host outcome=done ms=9.6 session=3",
        "push chunk=0x1000000000001 at=0 bytes=3000000 copies=3/3 trace=3f2a9c0e51d7b846",
        "states compared index=33 majority=ed6c85afa835a11f0a96b22ea4274e3c",
        "gfs://prod/a key=value passed=3 bypass=1 author=ann",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    redaction = Redaction()
    assert redaction.text(text) == text and not redaction.count


def test_fields_go_by_their_names_at_any_depth() -> None:
    redaction = Redaction()
    told = redaction.value(
        {
            "client": {"auth_token": SECRET, "name": f"ann password={SECRET}", "rack": "r1"},
            "items": [{"secret": [SECRET]}, ("a", f"https://u:{SECRET}@h")],
            "ticket_count": 7,
            "password": "",
            "tls": {"private-key": SECRET, "directory": "tls"},
        }
    )
    assert SECRET not in str(told) and redaction.count == 5
    assert told["client"]["rack"] == "r1" and told["ticket_count"] == 7
    assert told["password"] == "" and told["tls"]["directory"] == "tls"


@pytest.mark.parametrize("piece", ["a.", "a-", "pass", "auth_", "a://", "Bearer ", "-----BEGIN A "])
def test_no_name_makes_it_read_the_same_text_again_and_again(piece: str) -> None:
    """Minutes else, for each line that bears such a name."""
    text = piece * (400_000 // len(piece))
    redaction = Redaction()
    assert redaction.text(f"{text} password={SECRET}").count(SECRET) == 0
    assert redaction.count >= 1
