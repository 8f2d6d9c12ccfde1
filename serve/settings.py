"""What the service serves, its limits, and where it listens. Imports neither Ray nor torch."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from serve.middleware import fingerprint
from serve.web import check_origins
from unlearn.errors import BadInput, require

REPLICAS = re.compile(r"([1-9][0-9]*)(?::([1-9][0-9]*))?")
SHA256 = re.compile(r"[0-9a-f]{64}")
Placement = Literal["auto", "inline", "pool"]


def _check_replicas(text: str) -> str:
    """Refuse what is neither N nor MIN:MAX with MIN below MAX."""
    match = REPLICAS.fullmatch(text)
    if match is None or (match[2] and int(match[1]) > int(match[2])):
        raise ValueError("not a number of replicas")
    return text


def _check_fingerprint(text: str | None) -> str | None:
    if text is not None and SHA256.fullmatch(text) is None:
        raise ValueError("not a SHA-256")
    return text


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    check_origins(origins)
    return origins


class AppSettings(BaseModel):
    """The arguments of the application: what it serves, on how much, within which limits.

    Raises `BadInput`. Every description completes the sentence `<key> must be ...`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    gallery: str = Field(min_length=1, description="the folder or URL of a gallery")
    token_sha256: Annotated[str | None, AfterValidator(_check_fingerprint)] = Field(
        None,
        description="the SHA-256 of the bearer token that clients must send, 64 hexadecimal "
        "digits, or null for none",
    )
    placement: Placement = Field(
        "auto",
        description="inline (models run in the HTTP replicas), pool (in replicas of their own), or "
        "auto (pool if gpus is above 0, else inline)",
    )
    replicas: Annotated[str, AfterValidator(_check_replicas)] = Field(
        "1", description="N or MIN:MAX, whole numbers of at least 1"
    )
    cpus: float = Field(
        0.5,
        gt=0,
        description="the CPUs per replica that runs models, above 0; torch uses as many threads, "
        "at least 1",
    )
    gpus: float = Field(0.0, ge=0, description="the GPUs per replica that runs models, at least 0")
    front_cpus: float = Field(
        0.25, gt=0, description="the CPUs per HTTP replica that runs no models, above 0"
    )
    ongoing: int = Field(
        4,
        ge=1,
        description="the requests that a replica holds at a time, at least 1; with MIN:MAX "
        "replicas, the number that scaling aims at",
    )
    queued: int = Field(
        256,
        ge=1,
        description="the requests that wait for a model, per HTTP replica, at least 1; more are "
        "answered 429",
    )
    batch: int = Field(
        0,
        ge=0,
        le=4096,
        description="the images that a generator draws at a time, 0 to 4096; 0 draws every request "
        "alone, more lets concurrent requests share a batch",
    )
    body_s: float = Field(
        15.0, gt=0, description="the seconds within which a request's body must arrive, above 0"
    )
    request_s: float = Field(
        60.0, gt=0, description="the seconds within which a request must be answered, above 0"
    )
    builders: tuple[str, ...] = Field(
        (), description="the user's own `package.module:builder`s that a card may name"
    )
    allow_origins: Annotated[tuple[str, ...], AfterValidator(_check_origins)] = Field(
        (),
        description="origins like https://host:port whose pages may call the service from a "
        "browser, or * for all",
    )

    def __init__(self, gallery: Any = "", **settings: Any) -> None:
        try:
            super().__init__(gallery=gallery, **settings)
        except ValidationError as error:
            raise BadInput(_explain(error, type(self))) from error

    def app(self) -> "AppSettings":
        """Return the settings that the replicas get."""
        return self

    @property
    def least(self) -> int:
        """Number of replicas at least."""
        return int(self.replicas.partition(":")[0])

    @property
    def most(self) -> int:
        """Number of replicas at most."""
        return int(self.replicas.rpartition(":")[2])

    @property
    def recipe(self) -> dict[str, Any]:
        """Return the settings that the bytes of an image depend on, beside its model."""
        cuda = {"device": "cuda"} if self.gpus else {}
        return {**cuda, **({"batch": self.batch} if self.batch else {})}

    @property
    def pooled(self) -> bool:
        """Tell whether models run in replicas of their own."""
        return self.placement == "pool" or (self.placement == "auto" and self.gpus > 0)


class ServiceSettings(AppSettings):
    """The application's settings, and where `amnesia serve` lets it listen.

    token: the bearer token itself; what leaves this process is its SHA-256 only.
    """

    host: str = Field("127.0.0.1", description="the address to listen on")
    port: int = Field(8000, ge=1, le=65535, description="1 to 65535")
    token: str | None = Field(
        None,
        repr=False,
        exclude=True,
        description="visible ASCII characters without spaces; set AMNESIA_TOKEN to such",
    )

    def __init__(self, gallery: Any = "", **settings: Any) -> None:
        super().__init__(gallery, **settings)

    @model_validator(mode="after")
    def _check_token(self) -> "ServiceSettings":
        require(
            self.token is None or _is_sendable(self.token),
            "the token must be visible ASCII characters without spaces; set AMNESIA_TOKEN to such",
        )
        return self

    def app(self) -> AppSettings:
        """Return the settings that the replicas get: the token's SHA-256, never the token."""
        known = self.model_dump(include=set(AppSettings.model_fields))
        if self.token is not None:
            known["token_sha256"] = fingerprint(self.token)
        return AppSettings(**known)


def _is_sendable(token: str) -> bool:
    """Tell whether a token can stand in an HTTP header."""
    return token != "" and token.isascii() and token.isprintable() and " " not in token


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Explain the first of pydantic's errors in one line: key, rule, value."""
    first = error.errors()[0]
    if first["type"] == "value_error" and not first["loc"]:
        return str(first["ctx"]["error"])
    key = str(first["loc"][0])
    fields = model.model_fields
    if key not in fields:
        return f"unknown setting {key[:60]!r}; allowed: {', '.join(fields)}"
    if key == "token":  # never shown
        return f"token must be {fields[key].description}"
    return f"{key} must be {fields[key].description}, not {repr(first['input'])[:60]}"
