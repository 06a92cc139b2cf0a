from __future__ import annotations

import pytest

from datasette_embeddings.errors import InvalidInputError, UnknownItemError
from datasette_embeddings.search.answers import answer_text, search_text, similar_items
from datasette_embeddings.search.matches import Match
from datasette_embeddings.search.nearest import Options, checked_limit, checked_query
from datasette_embeddings.store import collections


@pytest.fixture
def collection(articles):
    return collections.collection(articles, "articles")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("baking", "Sourdough"),
        ("astronomy", "Night sky"),
        ("my wheel has a puncture", "Bicycle repair"),
        ("what the government takes from my salary", "Tax return"),
        ("pets", "Kittens"),
        ("protect against data loss", "Backups"),
    ],
)
def test_a_text_finds_what_it_means(articles, collection, model, text, title):
    assert search_text(collection, text, model=model)[0].title == title


def test_matches_come_best_first_with_all_that_they_show(articles, collection, model):
    found = search_text(collection, "pets", model=model)
    assert [each.score for each in found] == sorted(
        (each.score for each in found), reverse=True
    )
    assert (found[0].id, found[0].metadata) == ("5", None)
    assert found[0].content.startswith("Kittens Young cats need food")


def test_the_limit_and_the_lowest_score_are_kept(articles, collection, model):
    found = search_text(collection, "pets", model=model, options=Options(limit=2))
    assert len(found) == 2
    lowest = found[0].score
    options = Options(min_score=lowest)
    assert len(search_text(collection, "pets", model=model, options=options)) == 1


def test_an_item_is_not_similar_to_itself(articles, collection):
    found = similar_items(collection, "5")
    assert sorted(each.id for each in found) == ["1", "2", "3", "4", "6"]


def test_an_unknown_item_has_nothing_similar(articles, collection):
    with pytest.raises(UnknownItemError, match="'77'"):
        similar_items(collection, "77")


def test_a_match_whose_row_is_gone_still_has_its_score(articles, collection, model):
    articles.execute("delete from articles")
    found = search_text(collection, "pets", model=model)[0]
    assert (found.id, found.title, found.content) == ("5", None, None)


def test_a_match_whose_table_is_gone_still_has_its_score(articles, collection, model):
    articles.execute("drop table articles")
    found = search_text(collection, "pets", model=model)[0]
    assert (found.id, found.title, found.content) == ("5", None, None)


@pytest.mark.parametrize("text", ["", " \n"], ids=["empty", "blank"])
def test_an_empty_query_is_refused(text):
    with pytest.raises(InvalidInputError, match="found an empty one"):
        checked_query(text)


def test_a_query_that_is_too_long_is_refused_with_both_lengths():
    with pytest.raises(InvalidInputError, match="at most 10 characters, found 11"):
        checked_query("x" * 11, max_length=10)


@pytest.mark.parametrize("limit", [0, -1, "x", "", None, 1.5, 10**20, True], ids=repr)
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(InvalidInputError, match="from 1; found"):
        checked_limit(limit)


def test_a_lone_surrogate_is_refused(articles, collection, model):
    with pytest.raises(InvalidInputError, match="surrogates"):
        search_text(collection, "\ud800", model=model)


@pytest.mark.parametrize(
    ("title", "content", "snippet"),
    [
        ("Cat", "Cat food and", "food and"),
        ("Cat", "Category a", "Category a"),
        ("Cat", "Cat", ""),
        (None, "a\n  b", "a b"),
        ("x", None, ""),
        ("x", "one two three", "one two …"),
        ("x", "y" * 20, "y" * 10 + " …"),
    ],
)
def test_a_snippet_is_the_beginning_after_the_title(title, content, snippet):
    match = Match(id="1", document_id="1", score=0.5, title=title, content=content)
    assert match.snippet(10) == snippet


def test_an_answer_has_its_mode_and_its_spelling(collection):
    """And is a sequence of its matches."""
    answer = answer_text(
        collection, "kitens", model=None, options=Options(mode="words")
    )
    assert [match.id for match in answer] == ["5"] == [answer[0].id]
    assert answer[:5] == answer.matches
    assert len(answer) == 1
    assert (answer.mode, answer.corrected) == ("words", "kittens")
    with pytest.raises(InvalidInputError, match="Expected a model"):
        search_text(collection, "kittens", model=None)
