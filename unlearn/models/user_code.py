"""Run code of the user's: whatever it raises becomes one line with file, line and cause."""

import linecache
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from unlearn.errors import BadInput

MAX_REASON = 300  # characters of the user's message that ours quotes


@contextmanager
def user_code(what: str, action: str) -> Iterator[None]:
    """Turn whatever is raised inside into `BadInput`; an interruption passes.

    what: what was done, for the message "<what> raises <cause>; <action>"
    action: what the user can do about it
    """
    try:
        yield
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # a module that parses arguments exits
        raise BadInput(f"{what} raises {cause_of(error)}; {action}") from error


def cause_of(error: BaseException) -> str:
    """Describe an error in one line: its type, its message, and where the user's code raised it."""
    if isinstance(error, SyntaxError):
        where = f"{Path(error.filename or '?').name}:{error.lineno}"
        return f"{type(error).__name__}: {error.msg} ({where})"
    words = " ".join(str(error).split())[:MAX_REASON]
    message = f": {words}" if words else ""
    return f"{type(error).__name__}{message}{_place_of(error)}"


def _place_of(error: BaseException) -> str:
    """Return " (file:line)" of the innermost call in the user's own files; "" without any."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_users(frame.filename)]
    if not own:
        return ""
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})"


def _is_users(filename: str) -> bool:
    """Tell whether a file is neither of Python, of torch, nor of this package."""
    if not linecache.getline(filename, 1) or filename.startswith("<"):
        return False
    path = Path(filename).resolve()
    ours = Path(__file__).resolve().parents[1]
    torchs = Path(torch.__file__).resolve().parent
    pythons = Path(sysconfig.get_path("stdlib")).resolve()
    is_pythons = path.is_relative_to(pythons) and "site-packages" not in path.parts
    return not (is_pythons or path.is_relative_to(ours) or path.is_relative_to(torchs))
