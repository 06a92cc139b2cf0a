"""Errors of HTTP requests, and the HTTP status of every error."""

from __future__ import annotations

from datasette_embeddings import errors
from datasette_embeddings.errors import EmbeddingsError


class NotFoundError(EmbeddingsError):
    """What does not exist, or the actor may not see."""


class ForbiddenError(EmbeddingsError):
    """What the actor may not do."""


class MethodNotAllowedError(EmbeddingsError):
    """A method that this path does not answer."""

    def __init__(self, allowed: tuple[str, ...], found: str) -> None:
        super().__init__(f"Expected {' or '.join(allowed)}, found {found}")
        self.allowed = allowed


class OutdatedError(EmbeddingsError):
    """What was asked for of a version that is no longer there."""


class PayloadTooLargeError(EmbeddingsError):
    """A body larger than the configuration allows."""


class NotAnImageError(EmbeddingsError):
    """Stored bytes that are not an image of a type that is served."""


class SearchUnavailableError(EmbeddingsError):
    """The model of the collection cannot embed this query on this server."""


# The first class that fits
STATUSES: tuple[tuple[type[EmbeddingsError], int], ...] = (
    (errors.InvalidInputError, 400),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (errors.UnknownItemError, 404),
    (errors.NoSimilaritiesError, 404),
    (MethodNotAllowedError, 405),
    (OutdatedError, 410),
    (PayloadTooLargeError, 413),
    (NotAnImageError, 415),
    # The request is right, but this server has no vector for it
    (errors.InvalidVectorError, 422),
    (errors.MissingLibraryError, 422),
    (errors.ModelError, 422),
    (errors.ModelMismatchError, 422),
    (errors.ModelSettingsMismatchError, 422),
    (SearchUnavailableError, 422),
    (errors.UnknownModelError, 422),
    (errors.ServerBusyError, 429),
    (errors.DatabaseError, 503),
)


def status_of(error: EmbeddingsError) -> int:
    """The HTTP status for *error*; 500 if it is unexpected."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def headers_of(error: EmbeddingsError) -> dict[str, str]:
    """The headers that the status of *error* requires."""
    if isinstance(error, MethodNotAllowedError):
        return {"Allow": ", ".join((*error.allowed, "OPTIONS"))}
    if isinstance(error, errors.ServerBusyError | errors.DatabaseError):
        # In seconds
        return {"Retry-After": "1"}
    return {}
