"""What can go wrong with a request, and the HTTP status that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasette_embeddings.errors import (
    DatabaseError,
    EmbeddingsError,
    InvalidInputError,
    InvalidVectorError,
    MissingLibraryError,
    ModelError,
    ModelMismatchError,
    ModelSettingsMismatchError,
    ServerBusyError,
    UnknownItemError,
    UnknownModelError,
)

if TYPE_CHECKING:
    from datasette.database import Database

# Seconds after which whoever was told to come again may
RETRY_AFTER_S = 1


class NotFoundError(EmbeddingsError):
    """What is not there, or may not be seen by whoever asks."""


class CollectionNotFoundError(NotFoundError):
    """No such collection in a database that the actor may see."""

    def __init__(self, name: str, database: Database) -> None:
        super().__init__(f"Collection not found: {name:.200}")
        self.name = name
        self.database = database


class ForbiddenError(EmbeddingsError):
    """What the actor may not do."""


class MethodNotAllowedError(EmbeddingsError):
    """A method that this path does not answer."""

    def __init__(self, allowed: tuple[str, ...], found: str) -> None:
        super().__init__(f"Expected {' or '.join(allowed)}, found {found}")
        self.allowed = allowed


class RequestTimeoutError(EmbeddingsError):
    """A body that did not come in time."""


class PayloadTooLargeError(EmbeddingsError):
    """A body larger than the configuration allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"Expected a body of at most {limit:,} bytes; it has more")
        self.limit = limit


class NotAnImageError(EmbeddingsError):
    """Bytes that are none of the images that are served."""


class ClientDisconnectedError(EmbeddingsError):
    """Nobody waits for the answer any more."""


class SearchUnavailableError(EmbeddingsError):
    """The model of the collection cannot answer this question here."""


class DatabaseUnavailableError(EmbeddingsError):
    """A database that cannot be read now, or a model that is not loaded yet."""


# The first that fits
STATUSES: tuple[tuple[type[EmbeddingsError], int], ...] = (
    (NotFoundError, 404),
    (UnknownItemError, 404),
    (ForbiddenError, 403),
    (MethodNotAllowedError, 405),
    (RequestTimeoutError, 408),
    (PayloadTooLargeError, 413),
    (NotAnImageError, 415),
    (ServerBusyError, 429),
    (ClientDisconnectedError, 499),
    (DatabaseUnavailableError, 503),
    (DatabaseError, 503),
    (InvalidInputError, 400),
    # The request is right, and yet there is no vector of it here
    (InvalidVectorError, 422),
    (SearchUnavailableError, 422),
    (UnknownModelError, 422),
    (ModelError, 422),
    (ModelMismatchError, 422),
    (ModelSettingsMismatchError, 422),
    (MissingLibraryError, 422),
)


def status_of(problem: EmbeddingsError) -> int:
    """The HTTP status that says what *problem* says."""
    return next((status for kind, status in STATUSES if isinstance(problem, kind)), 500)


def headers_of(problem: EmbeddingsError) -> dict[str, str]:
    """What the status wants to be told beside the message."""
    if isinstance(problem, MethodNotAllowedError):
        return {"Allow": ", ".join((*problem.allowed, "OPTIONS"))}
    if isinstance(problem, ServerBusyError | DatabaseUnavailableError):
        return {"Retry-After": str(RETRY_AFTER_S)}
    return {}
