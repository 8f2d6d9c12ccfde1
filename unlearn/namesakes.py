"""Modules of the user's that bear the name of one that is imported already, such as `unlearn`."""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder


def namesakes(name: str) -> list[str]:
    """Return where the search path or the working folder holds another module of this name.

    name: of a top-level module that is imported

    A folder without `__init__.py` counts: it hides packages of an editable installation.
    """
    own = getattr(sys.modules.get(name), "__spec__", None)
    places = set(_places(own))
    found: dict[str, None] = {}
    for folder in (*sys.path, ""):
        spec = PathFinder.find_spec(name, [folder or os.getcwd()])
        for place in _places(spec):
            if place not in places:
                found[place] = None
    return list(found)


def _places(spec: ModuleSpec | None) -> list[str]:
    """Return the folders of a package, or the file of a module."""
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [os.path.realpath(place) for place in spec.submodule_search_locations]
    return [os.path.realpath(spec.origin)] if spec.origin else []


def hidden_by(module: str, error: ImportError) -> str:
    """Say that a module is not found because another one has its name; "" where none has.

    module: what was to be imported, `package.module`
    error: what importing it raised; it may name a module that `module` imports itself
    """
    for dotted in (module, error.name or ""):
        name = dotted.partition(".")[0]
        for other in namesakes(name) if name in sys.modules else []:
            [own] = _places(sys.modules[name].__spec__)[:1] or ["built in"]
            return f"; `{name}` is {own} here, not {other}: give yours another name"
    return ""
