"""The namespace against a plain dict of paths: hypothesis looks for a history that differs."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from state_driver import Driver, empty_file

from gfs_ha.master.state.commands import ReapStep
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import Mkdir, Publish, Remove, Rename, SetAttributes

DIRECTORY, FILE = "directory", "file"

name = st.sampled_from(["a", "b", "ab", "é"])
path = st.lists(name, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))


class Model:
    """What the namespace should be: path -> kind, and the mode of each."""

    def __init__(self) -> None:
        self.kinds = {"/": DIRECTORY}
        self.modes = {"/": 0o777}

    @staticmethod
    def parent(path: str) -> str:
        return path.rpartition("/")[0] or "/"

    def way(self, path: str) -> str:
        """Return the error of the way to the parent, or nothing."""
        names = path[1:].split("/")[:-1]
        for count in range(1, len(names) + 1):
            kind = self.kinds.get("/" + "/".join(names[:count]))
            if kind is None:
                return "NotFound"
            if kind == FILE:
                return "NotADirectory"
        return ""

    def below(self, path: str) -> list[str]:
        return [one for one in self.kinds if one.startswith(path + "/")]

    def add(self, path: str, kind: str, mode: int) -> None:
        self.kinds[path], self.modes[path] = kind, mode

    def drop(self, path: str) -> None:
        for gone in [*self.below(path), path]:
            del self.kinds[gone], self.modes[gone]

    def mkdir(self, path: str, parents: bool) -> str:
        missing = [path]
        if parents:
            while (above := self.parent(missing[-1])) not in self.kinds:
                missing.append(above)
            if self.kinds[above] == FILE:
                return "NotADirectory"
            if any(self.kinds.get(self.parent(one)) == FILE for one in missing[:-1]):
                return "NotADirectory"
        elif error := self.way(path):
            return error
        if path in self.kinds:
            return "" if parents and self.kinds[path] == DIRECTORY else "AlreadyExists"
        for one in reversed(missing):
            self.add(one, DIRECTORY, 0o777 if one != path else 0o700)
        return ""

    def publish(self, path: str, if_absent: bool) -> str:
        if error := self.way(path):
            return error
        if self.kinds.get(path) == DIRECTORY:
            return "IsADirectory"
        if path in self.kinds and if_absent:
            return "AlreadyExists"
        self.add(path, FILE, 0o600)
        return ""

    def remove(self, path: str, recursive: bool) -> str:
        if error := self.way(path):
            return error
        if path not in self.kinds:
            return "NotFound"
        if self.below(path) and not recursive:
            return "DirectoryNotEmpty"
        self.drop(path)
        return ""

    def rename(self, source: str, target: str, replace: bool) -> str:
        if error := self.way(source):
            return error
        if source not in self.kinds:
            return "NotFound"
        if error := self.way(target):
            return error
        if target.startswith(source + "/"):
            return "InvalidArgument"
        if target in self.kinds:
            if not replace:
                return "AlreadyExists"
            if source == target:
                return ""
            if error := self._replace(source, target):
                return error
        moved = [source, *self.below(source)]
        for old in moved:
            new = target + old[len(source) :]
            self.add(new, self.kinds.pop(old), self.modes.pop(old))
        return ""

    def _replace(self, source: str, target: str) -> str:
        kinds = self.kinds[source], self.kinds[target]
        if kinds == (FILE, DIRECTORY):
            return "IsADirectory"
        if kinds == (DIRECTORY, FILE):
            return "NotADirectory"
        if self.below(target):
            return "DirectoryNotEmpty"
        self.drop(target)
        return ""


class NamespaceMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.session = self.driver.open_session()
        self.model = Model()

    def send(self, command: object, expected: str) -> None:
        reply = self.driver.do(command, self.session)
        assert (reply.error if isinstance(reply, Failure) else "") == expected, (command, reply)

    @rule(path=path, parents=st.booleans())
    def mkdir(self, path: str, parents: bool) -> None:
        command = Mkdir(path, mode=0o700, parents=parents)
        self.send(command, self.model.mkdir(path, parents))

    @rule(path=path, if_absent=st.booleans())
    def publish(self, path: str, if_absent: bool) -> None:
        expected = self.model.publish(path, if_absent)
        command = Publish((empty_file(path, mode=0o600, if_absent=if_absent),))
        (file,) = self.driver.ok(command, self.session).files
        assert file.error == expected

    @rule(path=path, recursive=st.booleans())
    def remove(self, path: str, recursive: bool) -> None:
        self.send(Remove(path, recursive), self.model.remove(path, recursive))

    @rule(source=path, goal=path, replace=st.booleans())
    def rename(self, source: str, goal: str, replace: bool) -> None:
        command = Rename(source, goal, replace)
        self.send(command, self.model.rename(source, goal, replace))

    @rule(path=path, mode=st.integers(0, 0o7777))
    def chmod(self, path: str, mode: int) -> None:
        error = self.model.way(path) or ("" if path in self.model.kinds else "NotFound")
        if not error:
            self.model.modes[path] = mode
        self.send(SetAttributes(path, mode=mode), error)

    @rule()
    def reap(self) -> None:
        self.driver.ok(ReapStep(32))

    @invariant()
    def the_tree_is_that_of_the_model(self) -> None:
        found = {}
        todo = ["/"]
        with self.driver.view() as view:
            while todo:
                path = todo.pop()
                status = view.status(path)
                found[path] = (status.kind, status.mode)
                if status.kind == DIRECTORY:
                    page = view.list_page(path, "", 100)
                    assert len(page.entries) == status.entry_count
                    top = "" if path == "/" else path
                    todo += [f"{top}/{entry.name}" for entry in page.entries]
        model = self.model
        assert found == {path: (model.kinds[path], model.modes[path]) for path in model.kinds}

    @invariant()
    def the_tables_agree(self) -> None:
        self.driver.check()


TestNamespace = NamespaceMachine.TestCase
TestNamespace.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
