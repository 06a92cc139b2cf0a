"""Chunks with the words of a question come first in its context."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datasette_embeddings.context.building import BestChunks, build
from datasette_embeddings.context.ordering import (
    MOST_CHARACTERS,
    OF_WORDS,
    shares_of_words,
)
from datasette_embeddings.search.matches import Match


def chunk(number, text, score, **others):
    return Match(
        id=f"guide#{number}",
        document_id="guide",
        score=score,
        content=text,
        start=1_000 * number,
        end=1_000 * number + len(text),
        **others,
    )


ABOUT = chunk(0, "This guide is about servers and what they need.", 0.5)
ANSWER = chunk(7, "Open port 8001 in the firewall.", 0.45)
MORE = chunk(3, "A server is a program that answers requests.", 0.48)


def texts(question, *found, tokens=500):
    made = build(question, found, tokens=tokens, count=None)
    return [each.text for each in made.passages]


def test_a_chunk_that_has_the_words_comes_before_a_better_one_that_has_not():
    ranked = BestChunks(collection="c", matches=[ABOUT, MORE, ANSWER])
    ordered = [ANSWER.content, ABOUT.content, MORE.content]
    assert texts("which port must the firewall open", ranked) == ordered
    assert texts("how are you", ranked) == [ABOUT.content, MORE.content, ANSWER.content]


def test_words_add_to_a_score_and_do_not_replace_it():
    far = replace(ANSWER, score=ABOUT.score - OF_WORDS - 0.01)
    ranked = BestChunks(collection="c", matches=[ABOUT, far])
    assert texts("open port firewall", ranked) == [ABOUT.content, far.content]


def test_a_passage_keeps_the_score_of_its_search():
    ranked = BestChunks(collection="c", matches=[ABOUT, ANSWER])
    made = build("open port firewall", [ranked], tokens=500, count=None)
    assert [each.score for each in made.passages] == [0.45, 0.5]


def test_the_order_of_a_reranker_stays():
    best, last = replace(ABOUT, rerank_score=3.0), replace(ANSWER, rerank_score=1.0)
    ranked = BestChunks(collection="c", matches=[best, last])
    assert texts("open port firewall", ranked) == [best.content, last.content]


def test_collections_that_cannot_be_compared_have_their_turns():
    one = BestChunks(collection="a", matches=[ABOUT, ANSWER], scale=("both", "m"))
    other = BestChunks(
        collection="b", matches=[chunk(9, "Unlike it", 0.9)], scale=("both", "n")
    )
    assert texts("open port firewall", one, other) == [
        ANSWER.content,
        "Unlike it",
        ABOUT.content,
    ]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("embedding", "It embeds rows"),
        ("EMBEDS?", "the embedded row"),
        ("which IP", "Its IP, 172.17.0.1"),
        ("запросы", "Сервер отвечает на запрос"),
        ("怎样搜索", "文字可以搜索"),
        ("sqlite_utils", "call sqlite_utils.Database"),
        ("straße", "Die STRASSE"),
    ],
)
def test_words_are_found_by_their_beginnings(question, text):
    assert shares_of_words(question, [text, "nothing like that"]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("question", "text"), [("in", "an index"), ("port", "support, ports"), ("?!", "?!")]
)
def test_a_short_word_is_no_part_of_another(question, text):
    assert shares_of_words(question, [text]) == [0.0]


def test_a_word_that_few_have_counts_more():
    rare, common = shares_of_words("the firewall", ["the firewall", "the a"])
    assert rare == 1.0
    assert 0 < common < 0.5


def test_a_word_that_is_repeated_says_less_each_time():
    once, often, _none = shares_of_words(
        "port", ["port a b", "port port port", "c d e"]
    )
    assert 0.5 < once < often == 1.0


@pytest.mark.parametrize(("question", "texts"), [("", ["a"]), ("a", []), ("a", [""])])
def test_without_words_no_chunk_has_a_share(question, texts):
    assert shares_of_words(question, texts) == [0.0] * len(texts)


def test_only_the_beginning_of_a_long_text_is_read():
    long = "x " * MOST_CHARACTERS + "port"
    assert shares_of_words("port " + "word " * 300_000, [long, "port"]) == [0.0, 1.0]
