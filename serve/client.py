"""A client of the service: `Client("http://127.0.0.1:8000")`. Needs httpx and NumPy, no torch."""

import base64
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

Variant = Literal["amnesiac", "original", "oracle"]
Fit = Literal["pad", "crop"]
Picture = bytes | str | Path  # an image file: its content, or where it lies
BUSY = 429
FIRST_WAIT_S = 0.1  # after a connection that broke; each further wait is twice as long
# Connections that the service, or the proxy before it, closed or refused. One that is too slow is
# not among them: its answer takes longer than it may.
BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError)
LONGEST_WAIT_S = 30.0  # what a `Retry-After` may ask for at once


class ServiceError(RuntimeError):
    """The service refused a request, or could not be reached. The message is its one line.

    status: HTTP status; None where no answer came
    """

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Model:
    """A promoted model.

    name: its name in the gallery
    error: why it cannot be served; None where it can
    task: `generator` or `classifier`
    version: the version that is served
    versions: all promoted versions, oldest first
    classes: number of classes
    forget: the forgotten classes
    method: the unlearning method
    scores: score -> value, of the unlearned model, `original_...` and `oracle_...`
    card: everything that the card says
    """

    name: str
    error: str | None = None
    task: str = ""
    version: str = ""
    versions: tuple[str, ...] = ()
    classes: int = 0
    forget: tuple[int, ...] = ()
    method: str = ""
    scores: Mapping[str, Any] = field(default_factory=dict, repr=False)
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Classification:
    """What a classifier read in images.

    predicted: the most probable class of each image, int64 (n,)
    probabilities: of every class, float64 (n, classes)
    version: the version of the model that answered
    """

    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    version: str


@dataclass(frozen=True)
class Rate:
    """How often an attack on a generator brought a forgotten class back out of one model.

    rate: share of tries
    low, high: its 95 % interval; None where the row does not hold it
    """

    rate: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Attack:
    """What one attack found.

    name: the attack
    recovered: whether its rate is above the oracle's, by the 95 % interval; None for attacks
        without a rate, and for one that broke
    rates: model -> `Rate`; empty for attacks without a rate
    findings: model -> every value that the attack measured
    comparison: the amnesiac's values beside the oracle's
    pictures: model -> path of a PNG, which `Client.picture` fetches
    """

    name: str
    recovered: bool | None
    rates: Mapping[str, Rate]
    findings: Mapping[str, Mapping[str, Any]] = field(repr=False)
    comparison: Mapping[str, Any] = field(repr=False)
    pictures: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Audit:
    """What attacks got out of a model, and the checksums that tie this to weights, row and code.

    attacks: one entry per attack; empty where none was run
    signature: SHA-256 of the weights, the row and the record, `cell_id`, revision of the code
    record: everything that the service answered
    """

    attacks: tuple[Attack, ...]
    signature: Mapping[str, Any]
    record: Mapping[str, Any] = field(repr=False)


class Client:
    """Talks to one service; a context manager that closes its connections.

    A request that the service is too busy for (429) is repeated after as many seconds as its
    `Retry-After` says. One that a process of the service died under is repeated too, since the
    service stores nothing: after a tenth of a second, then after twice as long each time. A service
    that has never answered is taken to be at another address. Raises `ServiceError`.

    url: address of the service
    token: bearer token; None where the service has none
    tries: how often a request is sent before that is an error, at least 1
    timeout_s: seconds that one answer may take
    """

    def __init__(
        self, url: str, token: str | None = None, tries: int = 8, timeout_s: float = 60.0
    ) -> None:
        if tries < 1:
            raise ValueError(f"tries must be at least 1, not {tries}")
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        self._tries = tries
        self._answered = False

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a second call does nothing."""
        self._http.close()

    def models(self) -> list[Model]:
        """Return every promoted model, by name; damaged ones have an `error`."""
        cards = self._json("GET", "/v1/models")["models"]
        return [_model(card) for card in cards]

    def model(self, name: str, version: str | None = None) -> Model:
        """Return one promoted model. `version`: None for the current one."""
        return _model(self._json("GET", _path(name), params=_given(version=version)))

    def generate(
        self,
        name: str,
        label: int,
        n: int = 16,
        seed: int = 0,
        variant: Variant = "amnesiac",
        version: str | None = None,
    ) -> NDArray[np.uint8]:
        """Draw `n` images of `label`: uint8 (n, channels, height, width).

        The same version, variant, label, n and seed give the same images.
        """
        asked = {"label": label, "n": n, "seed": seed, "variant": variant, "format": "npy"}
        path, params = _path(name, "generate"), _given(version=version)
        answer = self._send("POST", path, json=asked, params=params)
        images: NDArray[np.uint8] = np.load(io.BytesIO(answer.content), allow_pickle=False)
        return images

    def classify(
        self,
        name: str,
        images: NDArray[Any] | Sequence[Picture],
        variant: Variant = "amnesiac",
        fit: Fit | None = None,
        version: str | None = None,
    ) -> Classification:
        """Return class probabilities of images.

        images: an array (n, channels, height, width) or, of one channel, (n, height, width), uint8
            or floats in [0, 1]; or PNG and JPEG files, as bytes or paths
        fit: how files of another size are scaled, `pad` or `crop`; None refuses them
        """
        asked = {"images": _as_json(images), "variant": variant, **_given(fit=fit)}
        path, params = _path(name, "classify"), _given(version=version)
        answer = self._json("POST", path, json=asked, params=params)
        return Classification(
            predicted=np.array(answer["predicted"], np.int64),
            probabilities=np.array(answer["probabilities"], np.float64),
            version=answer["version"],
        )

    def audit(self, name: str, version: str | None = None) -> Audit:
        """Return what attacks got out of a model."""
        record = self._json("GET", _path(name, "audit"), params=_given(version=version))
        attacks = tuple(_attack(attack) for attack in record["attacks"])
        return Audit(attacks, record["signature"], record)

    def picture(self, path: str) -> bytes:
        """Return a file that an audit links to: a PNG, or its row as JSON."""
        return self._send("GET", path).content

    def _json(self, verb: str, path: str, **request: Any) -> Any:
        return self._send(verb, path, **request).json()

    def _send(self, verb: str, path: str, **request: Any) -> httpx.Response:
        """Send a request, again while the service is busy or restarts. Raises `ServiceError`."""
        for trial in range(1, self._tries + 1):
            last = trial == self._tries
            try:
                answer = self._http.request(verb, path, **request)
            except httpx.TransportError as error:
                if not last and self._answered and isinstance(error, BROKEN):
                    time.sleep(_backoff_s(trial))
                    continue
                line = f"no answer from {self._http.base_url}: {error or type(error).__name__}"
                raise ServiceError(line, None) from error
            self._answered = True
            if last or not _is_passing(answer):
                break
            time.sleep(_wait_s(answer) if answer.status_code == BUSY else _backoff_s(trial))
        if answer.is_success:
            return answer
        raise ServiceError(_line(answer), answer.status_code)


def _path(name: str, *rest: str) -> str:
    return "/".join(["/v1/models", quote(name, safe=""), *rest])


def _given(**options: str | None) -> dict[str, str]:
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def _is_passing(answer: httpx.Response) -> bool:
    """Tell whether to ask again: the service is busy, or its proxy has no process to ask."""
    kind = answer.headers.get("content-type", "")
    from_proxy = answer.status_code >= 500 and not kind.startswith("application/json")
    return from_proxy or answer.status_code == BUSY


def _backoff_s(trial: int) -> float:
    """Return the seconds to wait after a try that a process of the service died under."""
    return float(FIRST_WAIT_S * 2 ** (trial - 1))


def _wait_s(answer: httpx.Response) -> float:
    """Return the seconds that `Retry-After` asks for; 1 where it says nothing readable."""
    header = answer.headers.get("retry-after", "")
    seconds = float(header) if header.isdecimal() else 1.0
    return min(seconds, LONGEST_WAIT_S)


def _line(answer: httpx.Response) -> str:
    """Return the service's own line about an error."""
    try:
        return str(answer.json()["error"])
    except (ValueError, LookupError, TypeError):
        return f"the service answered {answer.status_code}"


def _as_json(images: NDArray[Any] | Sequence[Picture]) -> list[Any]:
    """Return images as the service reads them: nested lists in [0, 1], or files in base64."""
    if not isinstance(images, np.ndarray):
        return [base64.b64encode(_content(picture)).decode() for picture in images]
    scaled = images / 255 if images.dtype == np.uint8 else images
    nested: list[Any] = scaled.tolist()
    return nested


def _content(picture: Picture) -> bytes:
    return picture if isinstance(picture, bytes) else Path(picture).read_bytes()


def _model(card: Mapping[str, Any]) -> Model:
    if "error" in card:
        return Model(card["name"], str(card["error"]), card=card)
    return Model(
        name=card["name"],
        task=card["task"],
        version=card["version"],
        versions=tuple(card["versions"]),
        classes=card["classes"],
        forget=tuple(card["forget"]),
        method=str(card.get("method", "")),
        scores=card.get("scores", {}),
        card=card,
    )


def _attack(found: Mapping[str, Any]) -> Attack:
    rates = {}
    for model, values in found["models"].items():
        if values.get("rate") is not None:
            rates[model] = Rate(values["rate"], values.get("low"), values.get("high"))
    return Attack(
        name=found["name"],
        recovered=found["recovered"],
        rates=rates,
        findings=found["models"],
        comparison=found["comparison"],
        pictures=found["pictures"],
    )
