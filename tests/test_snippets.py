from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest

from datasette_embeddings.search.matches import Match
from datasette_embeddings.search.snippets import Piece, excerpt, shortened
from datasette_embeddings.sources.definitions import FolderSource

LONG = "filler " * 100


def shown(pieces):
    """The text of *pieces*, with marked words in brackets."""
    return "".join(f"[{each.text}]" if each.is_word else each.text for each in pieces)


@pytest.mark.parametrize(
    ("content", "query", "expected"),
    [
        ("Feed the cat.", "cat", "Feed the [cat]."),
        ("Cats and a CAT", "cat", "[Cats] and a [CAT]"),
        ("concatenate the cat", "cat", "concatenate the [cat]"),
        ("how to make a backup", "How to make a backup?", "how to [make] a [backup]"),
        ("walked, walking, walks", "walk", "[walked], [walking], [walks]"),
        ("one (two) three", "(two)", "one ([two]) three"),
        ("Über die Brücke", "brücke über", "[Über] die [Brücke]"),
        ("a  line\nand\tanother", None, "a line and another"),
        ("nothing of it", "to a", "nothing of it"),
        ("", "cat", ""),
    ],
)
def test_the_words_of_the_query_are_marked(content, query, expected):
    assert shown(excerpt(content, query, 100)) == expected


def test_the_excerpt_is_where_most_different_words_are():
    content = f"{LONG} tube {LONG} patch the tube with glue {LONG}"
    text = shown(excerpt(content, "glue to patch a tube", 60))
    assert "[patch] the [tube] with [glue]" in text
    assert (text.startswith("… "), text.endswith(" …")) == (True, True)


def test_the_beginning_is_shown_where_no_other_place_is_better():
    assert shown(excerpt(f"tube {LONG} tube", "tube", 30)).startswith("[tube] filler")


def test_an_excerpt_is_about_as_long_as_asked_for():
    assert len(shown(excerpt(LONG, None, 80))) <= 82


def test_a_megabyte_without_a_space_is_cut():
    assert excerpt("x" * 1_000_000, "y", 50) == [Piece("x" * 50 + " …")]


def test_the_title_is_not_said_twice():
    content = "Kittens Young cats need food"
    match = Match(id="1", document_id="1", score=0.5, title="Kittens", content=content)
    assert match.excerpt("cat", 100) == [
        Piece("Young "),
        Piece("cats", is_word=True),
        Piece(" need food"),
    ]


def test_a_sentence_that_begins_with_the_title_of_its_file_stays_whole():
    file = Match(id="1", document_id="1", score=0.5, source=FolderSource(()))
    sentence = replace(file, title="Penguins", content="Penguins swim.")
    assert sentence.snippet(100) == "Penguins swim."
    heading = replace(file, title="Penguins", content="Penguins\n\nThey swim.")
    assert heading.snippet(100) == "They swim."


def test_a_long_name_is_shortened_at_a_word():
    assert shortened("a name\nthat is too long", 12) == "a name that …"
    assert shortened("short", 12) == "short"


@pytest.mark.parametrize(
    ("content", "query", "expected"),
    [
        ("passes, passed, passing", "pass", "[passes], [passed], [passing]"),
        ("a test and tests", "tests test", "a [test] and [tests]"),
        ("snake_case in 2024", "snake_case 2024", "[snake_case] in [2024]"),
    ],
)
def test_the_ends_of_words_are_theirs(content, query, expected):
    assert shown(excerpt(content, query, 100)) == expected


def test_a_query_of_many_words_takes_no_longer_than_one_of_few():
    content = "unrelated words of a long text " * 3_000
    few, many = "one two three", " ".join(str(number) for number in range(100, 600))

    def seconds(query):
        best = math.inf
        for _ in range(5):
            started = time.process_time()
            excerpt(content, query, 280)
            best = min(best, time.process_time() - started)
        return best

    assert seconds(many) < 3 * seconds(few)
