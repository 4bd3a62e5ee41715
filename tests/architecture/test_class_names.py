"""One class name means one thing in the whole repository.

The only names that may stand twice are those of the wire contract: a message of `telos/wire/telos.proto` has a class in
`telos/`, which a robot's program uses, and one of the same name in `server/schemas/`, which checks what comes in. Both
are the same message, and the client cannot import the server's; two names for one message would be worse than one name
for its two sides. So a name may stand once in either place when it is that of a message, and nowhere else.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.architecture.sources import FILES, ROOT, name_of, tree_of

MESSAGES = frozenset(re.findall(r"^message (\w+)", (ROOT / "telos/wire/telos.proto").read_text(), re.MULTILINE))


def classes_of(files: Iterable[Path]) -> dict[str, list[str]]:
    """Every class by its name: the files that define it, once for each definition."""
    found: dict[str, list[str]] = {}
    for path in files:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(name_of(path))
    return found


def mirrors(name: str, places: list[str]) -> bool:
    """Whether these two classes are the client's and the server's of one message."""
    in_client, in_schemas = (
        sum(place.startswith(folder) for place in places) for folder in ("telos/", "server/schemas/")
    )
    return name in MESSAGES and len(places) == 2 and in_client == in_schemas == 1


def repeated(classes: dict[str, list[str]]) -> Iterator[str]:
    for name, places in sorted(classes.items()):
        if len(places) > 1 and not mirrors(name, places):
            yield f"{name}: {', '.join(places)}"


def test_every_class_name_exists_once() -> None:
    found = list(repeated(classes_of(FILES)))
    assert not found, "classes with one name; rename all but one of each:\n" + "\n".join(found)


def test_the_exception_is_in_use() -> None:
    """Otherwise it should go, and the docstring above with it."""
    assert [name for name, places in classes_of(FILES).items() if mirrors(name, places)]


def test_the_check_above_has_eyes() -> None:
    client, server, other = "telos/requests.py", "server/schemas/requests.py", "worldmodel/observation.py"
    allowed = {"Goal": [client, server], "Recipe": ["worldmodel/recipe.py"]}
    assert list(repeated(allowed)) == []
    for name, places in {
        "Step": ["server/engine/protocol.py", "server/engine/scheduler.py"],
        "Session": ["server/sessions.py", "server/schemas/streams.py"],
        "Goal": [client, server, other],
        "Image": [client, client],
        "Helper": [client, server],  # no message of the wire
    }.items():
        assert list(repeated({name: places})) == [f"{name}: {', '.join(places)}"]
