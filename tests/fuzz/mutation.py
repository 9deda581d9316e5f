"""Valid content, a little changed, as by a bad program, a bad disk or a bad person."""

import copy
from typing import Any

from hypothesis import strategies as st

# Unexpected numbers, names and lists.
ODD_VALUES = [
    *(None, True, False, -1, 0, 1, 2, 7, 10**6, 2**31, 2**63, -(2**63) - 1, 10**400),
    *(0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf")),
    *(
        "",
        "1",
        "-1",
        "0",
        ".",
        "a\0b",
        "\ud800",
        "../../etc/passwd",
        "/etc/passwd",
        "a.jpg#train",
        "%s{0}",
        "x" * 5000,
    ),
    *([], [[]], {}, [0], [None], [1, 2, 3], [0, 0, 5, 5], [5, 5, 0, 0], [[0, 1, 1]], [[0, 1], [1]], {"a": 1}),
]
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_nested = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
odd_values = st.sampled_from(ODD_VALUES) | _nested


@st.composite
def mutated_json(draw, document: Any, changes: int = 4) -> Any:
    """Change up to ``changes`` values of a JSON document: replace, remove, repeat, move or rename them."""
    root = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(0, changes))):
        places = list(_places(root))
        container, key = places[draw(st.integers(0, len(places) - 1))]
        action = draw(st.sampled_from(["replace", "replace", "remove", "repeat", "move", "rename"]))
        if action == "remove" and container is not root:
            del container[key]
        elif action == "repeat" and isinstance(container, list) and container is not root:
            container.insert(key, copy.deepcopy(container[key]))
        elif action == "move":
            source, source_key = places[draw(st.integers(0, len(places) - 1))]
            container[key] = copy.deepcopy(source[source_key])
        elif action == "rename" and isinstance(container, dict):
            container[draw(st.sampled_from(["", "0", "1", "id", "\ud800"]) | st.text(max_size=5))] = container.pop(
                key
            )
        else:
            container[key] = copy.deepcopy(draw(odd_values))
    return root[0]


def _places(container: Any):
    """List all (container, key) below, the outermost first."""
    keys = range(len(container)) if isinstance(container, list) else list(container)
    for key in keys:
        yield container, key
        if isinstance(container[key], list | dict):
            yield from _places(container[key])


@st.composite
def mutated_bytes(draw, content: bytes, changes: int = 6) -> bytes:
    """Flip bits of the content, change, insert or lose bytes, repeat parts, or cut off the end."""
    data = bytearray(content)
    for _ in range(draw(st.integers(0, changes))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        action = draw(st.sampled_from(["flip", "set", "insert", "lose", "repeat", "cut"]))
        length = draw(st.integers(1, 64))
        if action == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif action == "set":
            data[place : place + length] = draw(st.binary(max_size=8)) or b"\xff"
        elif action == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif action == "lose":
            del data[place : place + length]
        elif action == "repeat":
            data[place:place] = data[place : place + length]
        else:
            del data[place:]
    return bytes(data)
