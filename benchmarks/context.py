"""How often a context has the sentence that answers, beside plain chunks.

    datasette embeddings embed til.db til --table til --column title --column body
    datasette embeddings embed til.db til-markdown --table til --column title \\
      --column body --chunk markdown
    python benchmarks/context.py til.db CORPUS.json til til-markdown [--rules]

The table ``til`` has the objects of CORPUS.json: ``path``, ``title`` and ``body``.
``benchmarks/data/til_answers.json`` has the questions: where the sentence that answers
is in the body of ``path``, in characters, and the first 16 digits of its SHA-256.

Measured, for contexts of 500, 1,000, 2,000 and 4,000 tokens: the share of the questions
whose sentence is in a passage of its document, white space aside, with its standard
error; that of the questions of which 90 % of the sentence are; passages, documents and
the share of the tokens that is used; the processor's time.  Against: plain chunks, best
first, until one does not fit, in the same form.  ``--rules`` compares other rules, too,
by how many more questions are answered, with the standard error of that.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from datasette_embeddings import load_model
from datasette_embeddings.context import building, selecting
from datasette_embeddings.context.budget import Tokens
from datasette_embeddings.context.building import BestChunks, best_chunks, build
from datasette_embeddings.context.ordering import OF_WORDS, shares_of_words
from datasette_embeddings.context.texts import BETWEEN, NOT_CLOSE, block
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.search.matches import Match, matches
from datasette_embeddings.store.chunks import chunk_ids, stored_chunks
from datasette_embeddings.store.collections import StoredCollection, collection

QUESTIONS = Path(__file__).parent / "data" / "til_answers.json"
BUDGETS = (500, 1_000, 2_000, 4_000)
NEARLY = 0.9


@dataclass(frozen=True)
class Question:
    """A question, and the sentence of a document that answers it."""

    text: str
    path: str
    answer: str

    def is_answered(self, passages: Sequence[tuple[str, str]], part: float) -> bool:
        """Whether that *part* of the answer is in a passage of its document."""
        answer = normalized(self.answer)
        length = math.ceil(part * len(answer))
        pieces = {answer[at:][:length] for at in range(len(answer) - length + 1)}
        texts = [normalized(text) for path, text in passages if path == self.path]
        return any(piece in text for text in texts for piece in pieces)


@dataclass(frozen=True)
class Made:
    """A context: the document and text of each passage."""

    passages: Sequence[tuple[str, str]]
    tokens: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Asked:
    """The questions, and what makes contexts of a collection for them."""

    found: StoredCollection
    model: EmbeddingModel
    questions: Sequence[Question]
    count: Callable[[Sequence[str]], list[int]]
    _ranked: dict[int, list[tuple[BestChunks, float]]] = field(default_factory=dict)

    def ranked(self, tokens: int) -> list[tuple[BestChunks, float]]:
        """What ranks for each question, and the time of the search."""
        count = building.chunk_count(tokens)
        if count not in self._ranked:
            search = partial(best_chunks, self.found, model=self.model, tokens=tokens)
            self._ranked[count] = [timed(search, e.text) for e in self.questions]
        return self._ranked[count]

    def made(self, rule: Rule, tokens: int) -> list[Made]:
        """The context for each question, by *rule*."""
        contexts = []
        with ExitStack() as stack:
            for (target, name), value in rule.patches.items():
                stack.enter_context(patch.object(target, name, value))
            ranked = self.ranked(tokens)
            for question, (best, searched) in zip(self.questions, ranked, strict=True):
                changed = rule.change(self.found, question.text, best)
                make = partial(rule.make, count=self.count)
                context, took = timed(make, question.text, [changed], tokens=tokens)
                contexts.append(replace(context, seconds=searched + took))
        return contexts


def context(question: str, found: Sequence[BestChunks], **given: Any) -> Made:
    """What this package makes."""
    made = build(question, found, **given)
    return Made([(each.id, each.text) for each in made.passages], made.tokens)


def plain_chunks(
    question: str, found: Sequence[BestChunks], *, tokens: int, count: Callable
) -> Made:
    """The best chunks, whole, until one does not fit."""
    counter = Tokens(count)
    blocks = [NOT_CLOSE] if found[0].close is False else []
    text, passages = BETWEEN.join(blocks), list[tuple[str, str]]()
    for match in found[0].matches:
        piece = building._piece(0, 0, match, len(match.content or ""))
        blocks.append(block(piece, len(passages) + 1))
        longer = BETWEEN.join(blocks)
        if counter.whole(longer) > tokens:
            break
        text = longer
        passages.append((match.document_id, piece.text))
    return Made(passages, counter.whole(text))


def unchanged(_found: StoredCollection, _question: str, best: BestChunks) -> BestChunks:
    return best


@dataclass(frozen=True)
class Rule:
    """A way to make contexts, by functions and by constants that are replaced."""

    name: str
    patches: Mapping[tuple[Any, str], Any] = field(default_factory=dict)
    change: Callable[[StoredCollection, str, BestChunks], BestChunks] = unchanged
    make: Callable[..., Made] = context


def documents_first(
    _found: StoredCollection, question: str, best: BestChunks
) -> BestChunks:
    """All that ranks of the best document, then of the next one."""
    ordered = by_words(question, best)
    places = {each.document_id: n for n, each in reversed([*enumerate(ordered)])}
    ordered.sort(key=lambda each: places[each.document_id])
    return replace(best, matches=ordered)


def with_neighbours(
    found: StoredCollection, question: str, best: BestChunks, most: int
) -> BestChunks:
    """After each of the best *most*, the chunks before and after it."""
    widened: dict[str, Match] = {}
    for place, match in enumerate(by_words(question, best)):
        widened.setdefault(match.id, match)
        if place < most and match.start is not None:
            ids = chunk_ids(found, match.document_id)
            at = ids.index(match.id)
            near = [*ids[max(0, at - 1) : at], *ids[at + 1 : at + 2]]
            near = [each for each in near if each not in widened]
            stored = stored_chunks(found, near)
            hits = [Hit(each, match.score, stored[each]) for each in near]
            widened |= {each.id: each for each in matches(found, hits)}
    return replace(best, matches=[*widened.values()])


def by_words(question: str, best: BestChunks) -> list[Match]:
    """What ranks, as a context orders it."""
    texts = [each.content or "" for each in best.matches]
    shares = shares_of_words(question, texts)
    scores = [e.score + OF_WORDS * n for e, n in zip(best.matches, shares, strict=True)]
    places = sorted(range(len(scores)), key=lambda place: -scores[place])
    return [best.matches[place] for place in places]


def share(part: float) -> dict[tuple[Any, str], Any]:
    """A document has at most this share of any number of tokens."""
    return {(selecting, "DOCUMENT_SHARE"): part, (selecting, "DOCUMENT_TOKENS"): 0}


# What a rule has ordered is not ordered again
AS_IT_IS = {(building, "OF_WORDS"): 0}
PLAIN, DEFAULT = Rule("plain chunks", make=plain_chunks), Rule("context")
RULES = (
    PLAIN,
    *(
        Rule(f"words of a chunk count {part}", {(building, "OF_WORDS"): part})
        for part in (0, 0.1, 0.3, 0.4)
    ),
    *(Rule(f"share of a document {part}", share(part)) for part in (0.3, 0.5, 0.7, 1)),
    Rule("not joined", {(selecting, "joined"): lambda piece, _others: (piece, [])}),
    Rule("neighbours of the best 3", AS_IT_IS, partial(with_neighbours, most=3)),
    Rule("all neighbours", AS_IT_IS, partial(with_neighbours, most=50)),
    Rule("nothing cut", {(Tokens, "beginning"): lambda *_arguments: ""}),
    Rule("documents first", AS_IT_IS, documents_first),
    *(
        Rule(f"{most} chunks", {(building, "chunk_count"): lambda _t, n=most: n})
        for most in (20, 50, 100)
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("database", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("collections", nargs="+")
    parser.add_argument("--rules", action="store_true")
    given = parser.parse_args()
    questions = read_questions(QUESTIONS, given.corpus)
    conn = sqlite3.connect(given.database)
    for name in given.collections:
        found = collection(conn, name)
        model = load_model(found.model_id)
        asked = Asked(found, model, questions, model.count_tokens)
        print(f"\n{name}: {found.count_items():,} items, {len(questions)} questions\n")
        print(
            "| | tokens | has the answer | 90 % of it | passages | documents ", end=""
        )
        print(f"| used | time |\n{'|---' * 8}|")
        for tokens in BUDGETS:
            for rule in (PLAIN, DEFAULT):
                print(row(rule.name, tokens, asked.made(rule, tokens), questions))
        if given.rules:
            print_rules(replace(asked, count=counted_once(model)))


def read_questions(path: Path, corpus: Path) -> list[Question]:
    """The questions of *path*, with their answers from *corpus*.

    :raises ValueError: if the text where an answer should be is another one.
    """
    pages = json.loads(corpus.read_text("utf-8"))
    bodies = {each["path"]: each["body"] for each in pages}
    found = []
    for each in json.loads(path.read_text("utf-8")):
        answer = bodies.get(each["path"], "")[each["start"] : each["end"]]
        if hashlib.sha256(answer.encode()).hexdigest()[:16] != each["sha256"]:
            raise ValueError(f"{corpus} has another text of {each['path']}")
        found.append(Question(each["q"], each["path"], answer))
    return found


def row(
    name: str, tokens: int, contexts: Sequence[Made], questions: Sequence[Question]
) -> str:
    hits, nearly = answered(contexts, questions), answered(contexts, questions, NEARLY)
    error = hits.std() / math.sqrt(len(hits))
    cells = [
        name,
        f"{tokens:,}",
        f"{hits.mean():.1%} ± {error:.1%}",
        f"{nearly.mean():.1%}",
        f"{np.mean([len(each.passages) for each in contexts]):.1f}",
        f"{np.mean([len({d for d, _ in each.passages}) for each in contexts]):.1f}",
        f"{np.mean([each.tokens for each in contexts]) / tokens:.0%}",
        f"{np.mean([each.seconds for each in contexts]) * 1000:.0f} ms",
    ]
    return f"| {' | '.join(cells)} |"


def counted_once(model: EmbeddingModel) -> Callable[[Sequence[str]], list[int]]:
    """What counts tokens, without counting those of a text twice."""
    known = cache(lambda text: model.count_tokens([text])[0])
    return lambda texts: [*map(known, texts)]


def print_rules(asked: Asked) -> None:
    """Print how many more questions each rule answers than the default."""
    usual = {
        tokens: answered(asked.made(DEFAULT, tokens), asked.questions)
        for tokens in BUDGETS
    }
    print(f"\n| | {' | '.join(f'{each:,}' for each in BUDGETS)} |")
    print(f"{'|---' * (1 + len(BUDGETS))}|")
    for rule in RULES:
        cells = [rule.name]
        for tokens in BUDGETS:
            hits = answered(asked.made(rule, tokens), asked.questions)
            more = hits.astype(float) - usual[tokens]
            error = more.std() / math.sqrt(len(more))
            cells.append(f"{hits.mean():.1%} ({more.mean():+.1%} ± {error:.1%})")
        print(f"| {' | '.join(cells)} |", flush=True)


def answered(
    contexts: Sequence[Made], questions: Sequence[Question], part: float = 1.0
) -> np.ndarray:
    """Whether each question is answered, (n,)."""
    pairs = zip(contexts, questions, strict=True)
    return np.array([each.is_answered(made.passages, part) for made, each in pairs])


def timed(work: Callable, *arguments: Any, **named: Any) -> tuple[Any, float]:
    """What *work* returns, and the processor's time for it in seconds."""
    start = time.process_time()
    return work(*arguments, **named), time.process_time() - start


def normalized(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
