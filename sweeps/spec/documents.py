"""Read YAML documents, and refuse what YAML takes for something else than its author wrote.

Refused, with the line: a key that stands twice, `0100` (64 in YAML), `1:30` (90), `1e-3` (text),
and texts with too many values, nested too deeply, or with a value that contains itself.
"""

import re
from typing import Any

import yaml

from unlearn.errors import BadInput
from unlearn.knobs import yaml_number

MAX_VALUES = 100_000  # keys and values of one text; an alias counts as all that it stands for
ALMOST = "!almost-a-number"  # tag of texts that look like numbers, but are none to YAML
ALMOST_A_NUMBER = re.compile(
    r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"  # 1e-3, 1.5e3: YAML wants a point and a sign
    r"|[-+]\.\d+$"  # -.5
    r"|[-+]?0\d+$"  # 08, which is not octal
)

Node = Any  # a node of `yaml.nodes`; a scalar's `value` is text, others hold nodes


def load_documents(text: str, what: str) -> list[Any]:
    """Return the documents of a YAML text. No two places share a list or a mapping.

    what: names the text in errors

    Raises `BadInput` with the line.
    """
    try:
        return [_unshared(document) for document in yaml.load_all(text, Loader=_Loader)]
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}" if place else ""
        problem = getattr(error, "problem", None) or "it holds characters that no text has"
        raise BadInput(f"{what} is not YAML{where}: {problem}") from error
    except RecursionError as error:
        raise BadInput(f"{what} is nested too deeply; a spec needs five levels") from error


def dump_documents(documents: list[Any]) -> str:
    """Return a YAML text from which `load_documents` reads the same documents."""
    return yaml.dump_all(documents, Dumper=_Dumper)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with our refusals."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.composed = 0

    def compose_node(self, parent: Node, index: Any) -> Node:
        """Compose a value, unless there are too many: PyYAML takes 30 s for a million."""
        self.composed += 1
        if self.composed > MAX_VALUES:
            raise _too_many(self.peek_event())  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def compose_document(self) -> Node:
        document = super().compose_document()
        if _expanded_size(document, {}, set()) > MAX_VALUES:
            raise _too_many(document)
        return document

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """Construct a value. PyYAML raises anything where it has none: `2020-99-99`, `!!int x`."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            kind = node.tag.rpartition(":")[2]
            raise _refused(node, f"cannot read {node.value!r} as {kind}") from error

    def construct_mapping(self, node: Node, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found

    def _check_keys(self, node: Node) -> None:
        """Refuse a key that is not text, as in `no: 1` and `[a]: 1`, or stands twice."""
        seen = set()
        for key, _ in node.value:
            is_merge = key.tag == "tag:yaml.org,2002:merge"
            name = key.value if is_merge else self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise _refused(key, f"the key {name!r} is not text; write it in quotes")
            if name in seen:
                raise _refused(key, f"the key {name!r} stands twice; keep one")
            seen.add(name)

    def construct_yaml_int(self, node: Node) -> int:
        value = super().construct_yaml_int(node)
        is_octal = re.match(r"[-+]?0\d", node.value.replace("_", ""))
        if is_octal or ":" in node.value:
            raise _refused(node, _reads_otherwise(node.value, value, value))
        return value

    def construct_yaml_float(self, node: Node) -> float:
        value = super().construct_yaml_float(node)
        if ":" in node.value:
            raise _refused(node, _reads_otherwise(node.value, value, value))
        return value

    def refuse_almost_a_number(self, node: Node) -> None:
        raise _refused(node, _reads_otherwise(node.value, "text", yaml_number(node.value)))


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper; it writes in quotes what `_Loader` refuses without."""


_Loader.add_implicit_resolver(ALMOST, ALMOST_A_NUMBER, list("-+.0123456789"))
_Dumper.add_implicit_resolver(ALMOST, ALMOST_A_NUMBER, list("-+.0123456789"))
_Loader.add_constructor(ALMOST, _Loader.refuse_almost_a_number)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def _refused(node: Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _too_many(node: Node) -> yaml.constructor.ConstructorError:
    rule = f"more than {MAX_VALUES:,} keys and values"
    return _refused(node, f"{rule}; shorten the lists, or give search.space a range")


def _reads_otherwise(written: str, read: object, number: object) -> str:
    return f"YAML reads {written} as {read}; write {number}, or '{written}' in quotes for text"


def _expanded_size(node: Node, known: dict[int, int], parents: set[int]) -> int:
    """Count the keys and values below a node, those behind an alias at every place.

    known: node's id -> its size, of nodes that are counted
    parents: ids of the nodes around this one, which it must not contain again
    """
    place = id(node)
    if place in parents:
        raise _refused(node, "a value contains itself; write it out")
    if place not in known:
        children: list[Node] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        inside = parents | {place} if children else parents
        known[place] = 1 + sum(_expanded_size(child, known, inside) for child in children)
    return known[place]


def _unshared(value: Any) -> Any:
    """Copy lists and mappings, so that a change of one does not reach those of an alias."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unshared(inner) for inner in value]
    return value
