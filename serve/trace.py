"""What becomes known of a request while it is answered: for its log line and for the metrics."""

import contextvars
from dataclasses import dataclass


@dataclass
class Trace:
    """One request. Its answer fills it in.

    request_id: the client's X-Request-ID, or one of ours.
    method: HTTP method.
    path: path of the URL.
    route: the route that answered, as in `/v1/models/{name}/generate`; empty if none did.
    model: name of the model; empty unless the gallery has it.
    version: the model's version.
    variant: `amnesiac`, `original` or `oracle`; empty if no model ran.
    images: images drawn or classified.
    status: HTTP status; 499 if the client went away before the answer.
    seconds: from the request's first line to the end of the answer.
    queued_s: seconds that it waited for a model.
    model_s: seconds that a model ran for it.
    bytes_in: size of its body.
    bytes_out: size of the answer's body.
    """

    request_id: str
    method: str
    path: str
    route: str = ""
    model: str = ""
    version: str = ""
    variant: str = ""
    images: int = 0
    status: int = 499
    seconds: float = 0.0
    queued_s: float = 0.0
    model_s: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0


_current: contextvars.ContextVar[Trace] = contextvars.ContextVar("trace")


def begin(trace: Trace) -> contextvars.Token[Trace]:
    """Make `trace` the one of the request that this task answers."""
    return _current.set(trace)


def end(token: contextvars.Token[Trace]) -> None:
    """Undo `begin`."""
    _current.reset(token)


def current() -> Trace:
    """Return the trace of the request that is being answered; a loose one outside of requests."""
    return _current.get(None) or Trace("", "", "")
