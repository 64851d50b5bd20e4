"""Errors keep their meaning on the way through another process."""

from __future__ import annotations

from gfs_ha import errors
from gfs_ha.errors import GfsError, error_from_wire


def every_error(root: type[GfsError]) -> list[type[GfsError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in every_error(child))]


def test_every_error_comes_back_from_the_wire_as_itself() -> None:
    for kind in every_error(GfsError):
        error = kind("what happened", chunk=7, server="cs1")
        back = error_from_wire(error.code, error.message, error.details)
        assert type(back) is kind
        assert (str(back), back.details) == ("what happened", {"chunk": 7, "server": "cs1"})


def test_a_code_of_a_later_release_keeps_its_name() -> None:
    back = error_from_wire("ShinyNewError", "it is new", {})
    assert type(back) is GfsError
    assert str(back) == "ShinyNewError: it is new"


def test_codes_are_unique_and_named_in_the_tree() -> None:
    kinds = every_error(GfsError)
    assert len({kind.__name__ for kind in kinds}) == len(kinds)
    assert errors.__doc__ is not None
    for kind in kinds:
        assert kind.__name__ in errors.__doc__, f"{kind.__name__} is missing in the drawn tree"


def test_exit_statuses_are_those_of_the_command_line() -> None:
    wanted = {
        errors.NotFound: 3,
        errors.AlreadyExists: 4,
        errors.WrongState: 4,
        errors.NoLeader: 5,
        errors.UnknownOutcome: 5,
        errors.WrongCluster: 6,
        errors.NoSpace: 7,
        errors.Unhealthy: 8,
        errors.CorruptData: 9,
        errors.DeadlineExceeded: 10,
        errors.PartlyDone: 11,
        errors.UsageError: 2,
    }
    assert {kind: kind.exit_status for kind in wanted} == wanted
