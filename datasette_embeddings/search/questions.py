"""Questions with their right answers, from a file: JSON, CSV, or TREC's topics."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from datasette_embeddings.databases import stored_path
from datasette_embeddings.errors import InvalidInputError, SourceError, quoted
from datasette_embeddings.sources.definitions import FileSource
from datasette_embeddings.sources.row_files import rows_of_file
from datasette_embeddings.sources.text_files import decoded

#: Bounds of a file of questions
MAX_BYTES = 50_000_000
MOST_QUESTIONS = 10_000
#: Characters of a question
LONGEST_QUESTION = 10_000
#: Suffixes of a file of texts that has one in JSON a line
LINES_OF_JSON = (".nl", ".ndjson", ".jsonl")
SHAPE = '{"q": "how to make a backup", "relevant": ["17", "23"]}'
# Of TREC: what stands between the marks of a topic, closed or not
_TOPIC = re.compile(r"<top>(.*?)(?=<top>|\Z)", re.DOTALL)
_NUMBER = re.compile(r"<num>\s*(?:Number:)?\s*([^\s<]+)")
_TITLE = re.compile(r"<title>\s*(?:Topic:)?\s*([^<]*)")


@dataclass(frozen=True)
class Question:
    """What a user searches for, and the ids of all documents that answer it."""

    text: str
    relevant: frozenset[str]
    kind: str | None = None


def read_questions(
    conn: sqlite3.Connection, path: Path, qrels: Path | None = None
) -> list[Question]:
    """The questions in the file at *path*; for TREC's topics, *qrels* has the answers.

    :raises InvalidInputError: if it is too large, or if one of them is no question.
    """
    for each in filter(None, (path, qrels)):
        _check_size(each)
    try:
        if qrels is not None:
            found = _of_trec(_text(path), _text(qrels), qrels)
        else:
            found = _of_rows(conn, path)
    except SourceError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    if not found:
        raise InvalidInputError(f"{path}: expected questions such as {SHAPE}")
    return found


def read_texts(path: Path) -> list[str]:
    """The different texts in the file at *path*: JSON, or one a line.

    :raises InvalidInputError: if it is too large, or has something else in it.
    """
    _check_size(path)
    try:
        content, suffix = _text(path), path.suffix.lower()
    except SourceError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    found: object = [line.strip() for line in content.splitlines() if line.strip()]
    try:
        if suffix == ".json":
            found = json.loads(content)
        elif suffix in LINES_OF_JSON and isinstance(found, list):
            found = list(map(json.loads, found))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: the JSON cannot be read: {error}") from error
    if not isinstance(found, list):
        raise InvalidInputError(
            f"{path}: expected a list of texts in JSON, found {quoted(found)}"
        )
    for number, text in enumerate(found, 1):
        if not isinstance(text, str) or not text.strip():
            raise InvalidInputError(
                f"{path}, text {number:,}: expected a question, found {quoted(text)}"
            )
        _checked_text(text, f"{path}, text {number:,}")
    texts = list(dict.fromkeys(found))
    _check_count(len(texts), path)
    return texts


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InvalidInputError(
            f"Expected a file of at most {MAX_BYTES:,} bytes, found {size:,} in {path}"
        )


def _of_rows(conn: sqlite3.Connection, path: Path) -> list[Question]:
    questions: dict[tuple[str, str | None], Question] = {}
    with rows_of_file(conn, FileSource(stored_path(conn, str(path)))) as (names, rows):
        missing = [name for name in ("q", "relevant") if name not in names]
        if names and missing:
            raise InvalidInputError(
                f"{path}: expected the columns or keys q and relevant, found "
                f"{', '.join(map(quoted, names[:10]))}; with TREC's topics, --qrels "
                "names the file of the answers"
            )
        for number, row in rows:
            if isinstance(row, SourceError):
                raise row
            given = dict(zip(names, row, strict=True))
            question = _question(given, f"{path}, row {number:,}")
            key = question.text, question.kind
            # In CSV each answer may have a row
            known = questions.get(key, question)
            relevant = known.relevant | question.relevant
            questions[key] = replace(question, relevant=relevant)
            _check_count(len(questions), path)
    return list(questions.values())


def _question(row: dict[str, object], place: str) -> Question:
    kind = row.get("kind")
    return Question(
        _checked_text(row["q"], place),
        frozenset(_ids(row["relevant"], place)),
        kind if isinstance(kind, str) and kind.strip() else None,
    )


def _checked_text(text: object, place: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(f"{place}: expected a text as q, found {quoted(text)}")
    if len(text) > LONGEST_QUESTION:
        raise InvalidInputError(
            f"{place}: expected a question of at most {LONGEST_QUESTION:,} characters, "
            f"found {len(text):,}"
        )
    return text


def _ids(value: object, place: str) -> list[str]:
    """The ids of a list of JSON, or of a text that has them between spaces."""
    ids = value.split() if isinstance(value, str) else value
    is_list = isinstance(ids, list) and all(
        isinstance(each, str | int) and not isinstance(each, bool) for each in ids
    )
    if not isinstance(ids, list) or not is_list:
        raise InvalidInputError(
            f"{place}: expected the ids that answer the question as relevant, such as "
            f'["17", "23"]; found {quoted(value)}'
        )
    return list(map(str, ids))


def _check_count(count: int, path: Path) -> None:
    if count > MOST_QUESTIONS:
        raise InvalidInputError(
            f"{path}: expected at most {MOST_QUESTIONS:,} questions, found more"
        )


def _text(path: Path) -> str:
    try:
        return decoded(path.read_bytes())
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error


def _of_trec(topics: str, qrels: str, path: Path) -> list[Question]:
    relevant: dict[str, set[str]] = {}
    for number, line in enumerate(qrels.splitlines(), 1):
        judgement = _judgement(line.split(), f"{path}, line {number:,}", number == 1)
        if judgement is not None:
            topic, document_id = judgement
            relevant.setdefault(topic, set()).add(document_id)
    texts = dict(_topics(topics))
    _check_count(len(texts), path)
    return [
        Question(
            _checked_text(text, f"Topic {topic}"), frozenset(relevant.get(topic, ()))
        )
        for topic, text in texts.items()
    ]


def _judgement(
    parts: Sequence[str], place: str, is_first: bool
) -> tuple[str, str] | None:
    """The topic and the document of a line, if that answers it."""
    if not parts:
        return None
    if len(parts) in (3, 4) and re.fullmatch(r"[+-]?\d+", parts[-1]):
        # Four columns, or three as in BEIR: the second of four means nothing
        return (parts[0], parts[-2]) if int(parts[-1]) > 0 else None
    if is_first:
        # The names of the columns
        return None
    raise InvalidInputError(
        f"{place}: expected a topic, 0, a document id and a grade, such as "
        f"301 0 17 1; found {quoted(' '.join(parts))}"
    )


def _topics(text: str) -> Iterator[tuple[str, str]]:
    """The number and the title of each topic: TREC's marks, or two columns."""
    if "<top>" in text:
        for (topic,) in map(re.Match.groups, _TOPIC.finditer(text)):
            found = _NUMBER.search(topic), _TITLE.search(topic)
            if found[0] is None or found[1] is None:
                raise InvalidInputError(
                    "Expected <num> and <title> in each <top> of the topics, found "
                    f"{quoted(' '.join(topic.split()))}"
                )
            yield found[0][1], " ".join(found[1][1].split())
        return
    for number, line in enumerate(text.splitlines(), 1):
        topic, tab, title = line.partition("\t")
        if line.strip() and not tab:
            raise InvalidInputError(
                "Expected topics as <top> of TREC, or a number, a tab and a text a "
                f"line; found {quoted(line)} in line {number:,}"
            )
        if tab:
            yield topic.strip(), title.strip()


def answerable(
    questions: Iterable[Question], existing: Set[str]
) -> tuple[list[Question], list[Question], set[str]]:
    """The *questions* with those answers that are *existing*, and what is not there.

    That is the questions of which no answer exists, and the ids of all the answers.
    """
    kept, left_out, missing = [], [], set[str]()
    for question in questions:
        missing |= question.relevant - existing
        found = question.relevant & existing
        if found:
            kept.append(replace(question, relevant=found))
        else:
            left_out.append(question)
    return kept, left_out, missing
