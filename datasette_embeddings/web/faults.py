"""What can go wrong with a request, and the HTTP status that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasette_embeddings.errors import (
    DatabaseProblem,
    EmbeddingsError,
    IdentityMismatch,
    InvalidInput,
    InvalidVector,
    MissingLibrary,
    ModelMismatch,
    ModelProblem,
    TooBusy,
    UnknownItem,
    UnknownModel,
)

if TYPE_CHECKING:
    from datasette.database import Database

# Seconds after which whoever was told to come again may
RETRY_AFTER_S = 1


class Absent(EmbeddingsError):
    """What is not there, or may not be seen by whoever asks."""


class UnknownCollection(Absent):
    """No such collection in a database that the actor may see."""

    def __init__(self, name: str, database: Database) -> None:
        super().__init__(f"Collection not found: {name:.200}")
        self.name = name
        self.database = database


class Denied(EmbeddingsError):
    """What the actor may not do."""


class WrongMethod(EmbeddingsError):
    """A method that this path does not answer."""

    def __init__(self, allowed: tuple[str, ...], found: str) -> None:
        super().__init__(f"Expected {' or '.join(allowed)}, found {found}")
        self.allowed = allowed


class TooSlow(EmbeddingsError):
    """A body that did not come in time."""


class TooLarge(EmbeddingsError):
    """A body larger than the configuration allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"Expected a body of at most {limit:,} bytes; it has more")
        self.limit = limit


class NotAnImage(EmbeddingsError):
    """Bytes that are none of the images that are served."""


class ClientGone(EmbeddingsError):
    """Nobody waits for the answer any more."""


class NotSearchable(EmbeddingsError):
    """The model of the collection cannot answer this question here."""


class Unavailable(EmbeddingsError):
    """A database that cannot be read now, or a model that is not loaded yet."""


# The first that fits
STATUSES: tuple[tuple[type[EmbeddingsError], int], ...] = (
    (Absent, 404),
    (UnknownItem, 404),
    (Denied, 403),
    (WrongMethod, 405),
    (TooSlow, 408),
    (TooLarge, 413),
    (NotAnImage, 415),
    (TooBusy, 429),
    (ClientGone, 499),
    (Unavailable, 503),
    (DatabaseProblem, 503),
    (InvalidInput, 400),
    # The request is right, and yet there is no vector of it here
    (InvalidVector, 422),
    (NotSearchable, 422),
    (UnknownModel, 422),
    (ModelProblem, 422),
    (ModelMismatch, 422),
    (IdentityMismatch, 422),
    (MissingLibrary, 422),
)


def status_of(problem: EmbeddingsError) -> int:
    """The HTTP status that says what *problem* says."""
    return next((status for kind, status in STATUSES if isinstance(problem, kind)), 500)


def headers_of(problem: EmbeddingsError) -> dict[str, str]:
    """What the status wants to be told beside the message."""
    if isinstance(problem, WrongMethod):
        return {"Allow": ", ".join((*problem.allowed, "OPTIONS"))}
    if isinstance(problem, TooBusy | Unavailable):
        return {"Retry-After": str(RETRY_AFTER_S)}
    return {}
