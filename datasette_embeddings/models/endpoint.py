"""An address on the network that is asked until it answers, or long enough."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from datasette_embeddings import distribution
from datasette_embeddings.config import ModelConfig
from datasette_embeddings.errors import MissingLibraryError, ModelError
from datasette_embeddings.models.base import utf8_only
from datasette_embeddings.models.deadline import Deadline
from datasette_embeddings.models.outside import quoted

if TYPE_CHECKING:
    import httpx2
    import tenacity

# Seconds before the second try; each further wait is twice as long, and up to so much
# longer by chance, that many clients do not come back together
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
# The longest that an endpoint may have us wait
LONGEST_RETRY_AFTER_S = 60.0
# What is read of an answer that says why there is none
MOST_BYTES_OF_AN_ERROR = 20_000
TOO_MANY = 429
MAY_PASS = (408, TOO_MANY)


class TransientModelError(ModelError):
    """The endpoint does not answer now, and may when it is asked again."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        #: How long the endpoint wants to be left alone
        self.wait_s = wait_s


class Endpoint:
    """Where ``/v1/embeddings`` is answered; many threads may ask.

    :raises ModelError: for an address or a key that cannot be used.
    """

    def __init__(self, settings: ModelConfig) -> None:
        self._url = _embeddings_url(str(settings.url))
        # Never a password, nor what a query string may hold
        self.name = str(self._url.copy_with(username="", password="", query=None))
        self._key = (settings.api_key or "").strip() or None
        self._timeout_s = settings.timeout
        self._retries = settings.retries
        self._client = _client(self._headers(), settings.timeout)
        self._deadline = Deadline()

    def _headers(self) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"{distribution.NAME}/{distribution.version()}",
            # Vectors do not become smaller, and a small answer may become huge
            "Accept-Encoding": "identity",
        }
        if self._key is not None:
            if not (self._key.isascii() and self._key.isprintable()):
                raise ModelError(
                    f"The 'api_key' for {self.name} has characters that no key has; "
                    "copy it again"
                )
            headers["Authorization"] = f"Bearer {self._key}"
        return headers

    def answer(
        self,
        question: Mapping[str, object],
        *,
        most_bytes: int,
        within_s: float | None = None,
    ) -> bytes:
        """What is answered to *question*, at most *most_bytes*.

        What may pass is tried again as often as the settings say, *within_s* if
        somebody waits for it.

        :raises ModelError: saying what is wrong.
        """
        import tenacity

        body = _json(question)
        stop: tenacity.stop.stop_base = tenacity.stop_after_attempt(self._retries + 1)
        if within_s is not None:
            stop |= tenacity.stop_before_delay(within_s)
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientModelError),
            wait=_wait_s,
            stop=stop,
            reraise=True,
        )
        try:
            found: bytes = tries(self._answer, body, most_bytes)
        except TransientModelError as problem:
            asked = tries.statistics.get("attempt_number", 1)
            raise ModelError(f"{problem} (asked {asked} times)") from problem
        return found

    def _answer(self, body: bytes, most_bytes: int) -> bytes:
        import httpx2

        try:
            with (
                # Half of it until the answer begins, half for its content
                self._deadline.within(2 * self._timeout_s),
                self._client.stream(
                    "POST",
                    self._url,
                    content=body,
                    extensions={"trace": self._deadline.trace},
                ) as response,
            ):
                # A timeout of the library is for each piece: many may come forever
                deadline = time.monotonic() + self._timeout_s
                self._check_status(response, deadline)
                return self._read(response, most_bytes, deadline)
        except httpx2.TimeoutException as error:
            raise self._too_slow() from error
        except httpx2.TransportError as error:
            reason = quoted(str(error) or type(error).__name__, self._key)
            raise TransientModelError(
                f"{self.name} cannot be reached: {reason}"
            ) from error
        except httpx2.RequestError as error:
            raise ModelError(
                f"{self.name} gave an answer that cannot be read: "
                f"{quoted(str(error), self._key)}"
            ) from error

    def _too_slow(self) -> TransientModelError:
        return TransientModelError(
            f"{self.name} did not answer within {self._timeout_s:g} seconds; 'timeout' "
            "under models in the configuration says how long to wait"
        )

    def _read(
        self, response: httpx2.Response, most_bytes: int, deadline: float
    ) -> bytes:
        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                raise ModelError(
                    f"{self.name} gave an answer of more than {most_bytes:,} bytes, "
                    "which no vectors are that were asked for"
                )
            if time.monotonic() > deadline:
                raise self._too_slow()
        return b"".join(parts)

    def _check_status(self, response: httpx2.Response, deadline: float) -> None:
        """Nothing, if *response* is an answer.

        :raises TransientModelError: if it is worth to ask again.
        :raises ModelError: if it is not.
        """
        status = response.status_code
        if response.is_success:
            return
        if response.is_redirect:
            where = response.headers.get("Location", "nowhere").partition("?")[0]
            target = quoted(where, self._key)
            raise ModelError(
                f"{self.name} sends elsewhere, to {target}; if that is right, give it "
                "as 'url' under models in the configuration"
            )
        said = f"{self.name} answered {status}{self._reason(response, deadline)}"
        if status in MAY_PASS or status >= 500:
            raise TransientModelError(
                said, _retry_after_s(response.headers.get("Retry-After"))
            )
        raise ModelError(f"{said}{_advice(status, has_key=self._key is not None)}")

    def _reason(self, response: httpx2.Response, deadline: float) -> str:
        """What the endpoint says is wrong, after a colon."""
        body = b""
        for part in response.iter_bytes():
            body += part
            if len(body) > MOST_BYTES_OF_AN_ERROR or time.monotonic() > deadline:
                break
        said = quoted(_message(body.decode("utf-8", "replace")), self._key)
        return f": {said}" if said else ""

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def _client(headers: Mapping[str, str], timeout_s: float) -> httpx2.Client:
    try:
        import httpx2
    except ImportError as error:
        raise MissingLibraryError("httpx2", "a model on the network") from error
    # Redirects are not followed: the key is for this address
    return httpx2.Client(
        headers=dict(headers), timeout=timeout_s, follow_redirects=False
    )


def _embeddings_url(url: str) -> httpx2.URL:
    """The address of the embeddings, where *url* may end with ``/v1``."""
    try:
        import httpx2
    except ImportError as error:
        raise MissingLibraryError("httpx2", "a model on the network") from error
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ModelError(f"The 'url' of a model is no address: {error}") from error
    if not parsed.host:
        raise ModelError("The 'url' of a model names no host")
    path = parsed.path.rstrip("/")
    return parsed.copy_with(
        path=path if path.endswith("/embeddings") else f"{path}/embeddings"
    )


def _json(question: Mapping[str, object]) -> bytes:
    with utf8_only():
        return json.dumps(question, ensure_ascii=False).encode()


def _wait_s(state: tenacity.RetryCallState) -> float:
    """How long to wait before the next try: what the endpoint says, or ever longer."""
    import tenacity

    problem = state.outcome.exception() if state.outcome else None
    if isinstance(problem, TransientModelError) and problem.wait_s is not None:
        return problem.wait_s
    growing = tenacity.wait_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)
    return (growing + tenacity.wait_random(0, FIRST_WAIT_S))(state)


def _retry_after_s(header: str | None) -> float | None:
    """The seconds in a Retry-After, which is a number of them or a date."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        seconds = (date - datetime.now(timezone.utc)).total_seconds()
    # Not a number compares with nothing
    return min(seconds, LONGEST_RETRY_AFTER_S) if seconds > 0 else 0.0


def _message(body: str) -> str:
    """The message in *body*: as OpenAI and others write it, or all of it."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return body
    for name in ("error", "message", "detail"):
        if isinstance(content, dict) and content.get(name):
            content = content[name]
    return content if isinstance(content, str) else body


def _advice(status: int, *, has_key: bool) -> str:
    """What to do about *status*, after a full stop."""
    if status in (401, 403):
        what = "check" if has_key else "set"
        return f". To mend it, {what} 'api_key' under models in the configuration"
    if status == 404:
        return (
            ". To mend it, check 'url', which ends with /v1 or /v1/embeddings, and "
            "'model' under models in the configuration"
        )
    return ""
