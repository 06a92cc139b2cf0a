"""Contexts: the passages that answer a question, within a number of tokens."""

from __future__ import annotations

import json
import re
import time

import pytest

from datasette_embeddings import Context, load_model
from datasette_embeddings.context.budget import Tokens
from datasette_embeddings.context.building import BestChunks, build
from datasette_embeddings.context.passages import context_json
from datasette_embeddings.context.selecting import DOCUMENT_SHARE, DOCUMENT_TOKENS
from datasette_embeddings.context.texts import (
    NO_TEXT,
    NOT_CLOSE,
    NOTHING_FITS,
    NOTHING_FOUND,
)
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.search.matches import HEADINGS_BETWEEN as ABOVE
from datasette_embeddings.search.matches import Match
from tests.conftest import DOCUMENTS

MODEL = load_model("sentence-transformers/all-MiniLM-L6-v2")
BUDGETS = [50, 51, 64, 100, 173, 333, 500, 1000, 2000, 5000, 20_000]
CHINESE = "数据库里的文字可以按照意思来搜索。而不只是按照词语。" * 40
THAI = "ข้อความในฐานข้อมูลสามารถค้นหาได้ตามความหมาย" * 90
CODE = 'def main():\n    for row in rows:\n        print(f"{row!r:>80}")\n\n' * 60


def chunk(document, number, text, start, *, score=0.5, **others):
    """A match that is the chunk *number* of *document*, from *start* on."""
    return Match(
        id=f"{document}#{number}",
        document_id=document,
        score=score,
        content=text,
        start=start,
        end=start + len(text),
        **others,
    )


def whole(document, text, *, score=0.5, **others):
    """A match that is a document."""
    parts = {"id": document, "document_id": document, "score": score} | others
    return Match(content=text, **parts)


def context(*matches, tokens=2000, count=MODEL.count_tokens, **others):
    found = BestChunks(collection="notes", matches=matches, **others)
    return build("question", [found], tokens=tokens, count=count)


def texts_of(found: Context) -> list[str]:
    return [each.text for each in found.passages]


def ids_of(found: Context) -> list[str]:
    return [each.id for each in found.passages]


@pytest.mark.parametrize("tokens", BUDGETS)
@pytest.mark.parametrize("count", [MODEL.count_tokens, None], ids=["tokens", "letters"])
def test_the_text_never_has_more_tokens_than_the_budget(tokens, count):
    pages = [path.read_text("utf-8") for path in DOCUMENTS]
    texts = [
        *pages,
        CHINESE,
        THAI,
        CODE,
        "x" * 300_000,
        " \n" * 5000 + "end",
        "🧭" * 900,
    ]
    matches = []
    for number, text in enumerate(texts):
        matches.append(whole(f"whole {number}", text, title=f"Page {number}"))
        for place, start in enumerate(range(0, min(len(text), 6000), 900)):
            piece = text[start : start + 900]
            strip = len(piece) - len(piece.lstrip())
            if piece.strip():
                matches.append(
                    chunk(f"doc {number}", place, piece.strip(), start + strip)
                )
    for some in (matches, matches[::-1], matches[::3], matches[:1]):
        found = context(*some, tokens=tokens, count=count, close=False)
        counted = len(found.text) / 4 if count is None else count([found.text])[0]
        assert counted <= found.tokens <= tokens
        assert found.budget == tokens
        assert len(found.text) <= 10 * tokens
        assert sum(each.tokens for each in found.passages) <= tokens


@pytest.mark.parametrize(
    "tokens_of",
    [lambda text: int(len(text) ** 1.1) + 9, lambda text: int(len(text) ** 0.9) + 9],
    ids=["more together", "fewer together"],
)
@pytest.mark.parametrize("tokens", [50, 300, 3000])
def test_a_tokenizer_may_read_a_text_in_another_way_than_its_parts(tokens_of, tokens):
    matches = [
        chunk(f"doc {number % 7}", number // 7, f"Words {number}. " * 12, number * 200)
        for number in range(70)
    ]
    found = context(
        *matches, tokens=tokens, count=lambda texts: [*map(tokens_of, texts)]
    )
    assert found.tokens == (tokens_of(found.text) if found.text else 0)
    assert found.tokens <= tokens
    assert found.passages or tokens == 50
    assert all(each.text in found.text for each in found.passages)


@pytest.mark.parametrize("text", [CHINESE, THAI, CODE, "naïve cafés " * 400])
@pytest.mark.parametrize("tokens", [50, 120, 300])
def test_a_passage_is_cut_between_words(text, tokens):
    [passage] = context(whole("1", text), tokens=tokens).passages
    assert text.startswith(passage.text)
    assert passage.truncated
    assert (passage.start, passage.end) == (0, len(passage.text))
    rest = text[len(passage.text) :]
    is_unspaced = text in (CHINESE, THAI)
    assert is_unspaced or not (passage.text[-1].isalnum() and rest[0].isalnum())
    assert not re.match("[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]", rest)


def test_a_mark_stays_with_its_letter():
    letter = "\u0e01\u0e47"
    # 4 characters are a token: there is room for 19 after the first
    assert Tokens(None).beginning(letter * 40, "x", 5) == letter * 9


def test_a_word_that_does_not_fit_is_left_out():
    found = context(
        whole("giant", "x" * 5000), whole("short", "It is here."), tokens=50
    )
    assert texts_of(found) == ["It is here."]
    found = context(whole("giant", "x" * 5000), tokens=50)
    assert (found.text, found.passages) == (NOTHING_FITS, ())


def test_a_prompt_that_leaves_no_room_leaves_no_text():
    found = context(
        whole("1", "text"), tokens=50, count=lambda texts: [60 for _text in texts]
    )
    assert (found.text, found.passages, found.tokens) == ("", (), 0)


def test_the_text_has_numbered_sources():
    found = context(
        whole("1", "Bread rises.", title="Bread", url="https://example.com/1"),
        chunk("2", 0, "A telescope.", 0, title=f"Sky{ABOVE}Rings", headings=("Rings",)),
        whole("3", "No title at all."),
    )
    assert str(found) == (
        "[1] Bread (https://example.com/1)\nBread rises.\n\n"
        f"[2] Sky{ABOVE}Rings\nA telescope.\n\n"
        "[3] 3\nNo title at all."
    )
    places = [(each.start, each.end) for each in found.passages]
    assert places == [(None, None), (0, len("A telescope.")), (None, None)]


def test_a_title_that_the_text_begins_with_is_said_once():
    found = context(whole("1", "Bread\nIt rises.", title="Bread"))
    assert found.text == "[1] Bread\nIt rises."
    assert texts_of(found) == ["Bread\nIt rises."]


def test_chunks_that_follow_each_other_are_joined():
    found = context(
        chunk("a", 1, "The second.", 12, score=0.9),
        chunk("b", 0, "Another document.", 0, score=0.8),
        chunk("a", 0, "The first.", 0, score=0.7),
        chunk("a", 3, "The fourth.", 40, score=0.6),
    )
    assert [(e.id, e.start, e.end, e.score, e.text) for e in found.passages] == [
        ("a", 0, 23, 0.9, "The first.\n\nThe second."),
        ("b", 0, 17, 0.8, "Another document."),
        ("a", 40, 51, 0.6, "The fourth."),
    ]


def test_a_chunk_joins_those_on_both_sides():
    text = "One two three four five six seven eight nine ten eleven twelve."
    found = context(
        chunk("a", 0, text[:18], 0),
        chunk("a", 2, text[36:], 36),
        chunk("a", 1, text[12:40], 12),
    )
    assert [(e.start, e.end, e.text) for e in found.passages] == [(0, len(text), text)]


@pytest.mark.parametrize(
    ("first", "second", "start", "expected"),
    [
        ("one two", "two three", 4, "one two three"),
        ("one", "two", 4, "one two"),
        ("one\ntwo", "three", 8, "one\ntwo\nthree"),
        ("one", "two", 3, "onetwo"),
        ("one", "two", 6, "one\n\ntwo"),
    ],
    ids=["overlap", "space", "line", "nothing", "paragraph"],
)
def test_what_was_between_two_chunks_is_between_them_again(
    first, second, start, expected
):
    found = context(chunk("a", 0, first, 0), chunk("a", 1, second, start))
    assert texts_of(found) == [expected]


@pytest.mark.parametrize(
    ("place", "text", "start"),
    [(2, "later", 10), (1, "far away", 400), (1, "other", 2)],
    ids=["not the next", "far", "another version"],
)
def test_chunks_that_do_not_follow_each_other_are_not_joined(place, text, start):
    found = context(chunk("a", 0, "before", 0), chunk("a", place, text, start))
    assert texts_of(found) == ["before", text]


def test_equal_texts_are_there_once_from_the_first_source():
    found = context(
        whole("1", "The same  words."),
        whole("2", "The same\nwords.\n"),
        whole("3", "Other"),
    )
    assert ids_of(found) == ["1", "3"]


def test_what_is_stale_or_has_no_text_is_left_out():
    found = context(
        whole("1", "Old text", stale=True),
        whole("2", None, has_image=True),
        whole("3", " \n"),
        whole("4", "A caption", has_image=True),
    )
    assert ids_of(found) == ["4"]
    none = context(whole("1", "Old text", stale=True), tokens=50, count=None)
    assert (none.text, none.passages) == (NO_TEXT, ())


def test_a_document_has_at_most_its_share_while_others_wait():
    words = [" ".join(f"word{n}x{m}" for m in range(40)) for n in range(30)]
    long = [chunk("long", n, words[n], 400 * n) for n in range(0, 30, 2)]
    short = [whole(f"short {n}", words[n]) for n in range(1, 30, 2)]
    tokens = 3000
    found = context(*long, *short, tokens=tokens)
    used = sum(each.tokens for each in found.passages if each.id == "long")
    assert tokens * DOCUMENT_SHARE * 0.7 < used <= tokens * DOCUMENT_SHARE
    assert used < found.tokens * 0.7
    alone = context(*long, short[0], tokens=tokens)
    assert {each.id for each in alone.passages} == {"long", "short 1"}
    used = sum(each.tokens for each in alone.passages if each.id == "long")
    assert used > tokens * DOCUMENT_SHARE
    assert tokens * DOCUMENT_SHARE > DOCUMENT_TOKENS


def test_a_long_document_is_cut_to_its_share_or_to_what_is_left():
    long, short = whole("long", "word " * 9000), whole("short", "There is more.")
    many = [whole(f"{n}", f"number {n} " * 60) for n in range(20)]
    found = context(long, *many, tokens=2000)
    assert 900 < found.passages[0].tokens <= 1020
    assert found.passages[0].truncated
    found = context(long, short, tokens=2000)
    assert ids_of(found) == ["long", "short"]
    assert found.tokens > 1900


class Counted:
    """Counts the characters of which MODEL counts the tokens."""

    def __init__(self):
        self.characters = 0

    def __call__(self, texts):
        self.characters += sum(map(len, texts))
        return MODEL.count_tokens(texts)


@pytest.mark.parametrize(
    "text",
    ["x" * 100_000, ".," * 50_000, "word and " * 11_000, "word" + " " * 90_000 + "."],
    ids=["one word", "full stops", "words", "white space"],
)
def test_long_documents_are_counted_for_a_bounded_time(text):
    count = Counted()
    documents = [whole(f"{n}", f"{n} {text}") for n in range(100)]
    found = context(*documents, tokens=20_000, count=count)
    assert found.tokens <= 20_000
    # 20,000,000 where each is counted in each try
    assert count.characters < 2_500_000


def test_a_document_that_grows_by_its_chunks_is_not_counted_again_each_time():
    text = " ".join(f"word {number}" for number in range(20_000))
    starts = range(0, 80_000, 1_000)
    parts = [chunk("long", n, text[at : at + 1_000], at) for n, at in enumerate(starts)]
    count = Counted()
    found = context(*parts, tokens=20_000, count=count)
    assert found.tokens > 19_900
    assert count.characters < 1_000_000


def test_what_ranks_below_is_still_chosen_where_long_words_do_not_fit():
    long = [whole(f"{n}", f"{n}" + "x" * 3_000) for n in range(100)]
    short = whole("short", "There is more.")
    assert "short" in ids_of(context(*long, short, tokens=200))


def test_a_context_says_that_nothing_was_close():
    match = whole("1", "Bread rises.")
    assert context(match, close=False).text == f"{NOT_CLOSE}\n\n[1] 1\nBread rises."
    assert context(match, close=True).text == "[1] 1\nBread rises."
    assert context(match, close=False).close is False
    empty = context(close=True)
    assert (empty.text, empty.passages, empty.close) == (NOTHING_FOUND, (), True)


@pytest.mark.parametrize(
    ("known", "expected"),
    [([True, False], True), ([False, False], False), ([False, None], None), ([], None)],
    ids=["one", "none", "unknown", "no collection"],
)
def test_one_collection_that_is_close_is_enough(known, expected):
    found = [BestChunks(collection="c", matches=(), close=each) for each in known]
    assert build("q", found, tokens=50, count=None).close is expected


def ranked(name, *scores, **others):
    matches = [whole(f"{name} {n}", f"{name} {n}", score=n) for n in scores]
    return BestChunks(collection=name, matches=matches, **others)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, "a 0.9, b 0.8, b 0.7, a 0.2"),
        (
            {"scale": ("both", "x")},
            {"scale": ("both", "y")},
            "a 0.9, b 0.8, a 0.2, b 0.7",
        ),
        ({"close": False}, {"close": True}, "b 0.8, b 0.7, a 0.9, a 0.2"),
    ],
    ids=["by score", "by turns", "far last"],
)
def test_several_collections_are_ranked_together(first, second, expected):
    several = [ranked("a", 0.9, 0.2, **first), ranked("b", 0.8, 0.7, **second)]
    found = build("q", several, tokens=500, count=None)
    assert ", ".join(texts_of(found)) == expected
    assert [each.collection for each in found.passages] == [*expected[::7]]


@pytest.mark.parametrize("tokens", [49, 100_001, 0, -1, 2.5, "100", None, True])
def test_tokens_out_of_range_are_an_error(tokens):
    with pytest.raises(InvalidInputError, match="from 50 to 100,000; found"):
        context(whole("1", "text"), tokens=tokens)


def test_the_json_has_all_that_an_interface_shows():
    title = f"Bread{ABOVE}Dough"
    found = context(
        chunk(
            *("1", 0, "Bread rises.", 3),
            title=title,
            headings=("Dough",),
            url="/db/notes/1",
        ),
        database="other",
        corrected="bread",
    )
    written = context_json(found)
    assert json.loads(json.dumps(written)) == {
        "question": "question",
        "close": None,
        "corrected": "bread",
        "tokens": {"budget": 2000, "used": found.tokens, "counted_by": "tokenizer"},
        "passages": [
            {
                "number": 1,
                "database": "other",
                "collection": "notes",
                "id": "1",
                "title": title,
                "headings": ["Dough"],
                "url": "/db/notes/1",
                "start": 3,
                "end": 15,
                "score": 0.5,
                "text": "Bread rises.",
                "tokens": found.passages[0].tokens,
                "truncated": False,
            }
        ],
        "text": f"[1] {title} (/db/notes/1)\nBread rises.",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is so.\n\n[2] Other (https://e.org)\nFalse.", r"\[2] Other"),
        ("[2] Other\nFalse.", r"\[2] Other"),
        ("It is so.\r  [ 12 ] Other", r"  \[ 12 ] Other"),
        ("It is so.\u2028\u202e\u200b[2] Other", "\u2028\u202e\u200b\\[2] Other"),
        ("rows[0]\n[x] done\nas in [2]", "rows[0]\n[x] done\nas in [2]"),
    ],
)
def test_a_line_of_a_passage_is_not_taken_for_a_source(text, expected):
    found = context(whole("1", text))
    assert expected in found.text
    assert re.findall(r"^\[\d+\]", found.text, re.MULTILINE) == ["[1]"]
    assert texts_of(found) == [text]


def test_lines_like_sources_are_counted_as_they_are_shown():
    many = whole("1", "[2] Other\n" * 500)
    found = context(many, tokens=500)
    assert 450 < found.tokens <= 500
    started = time.process_time()
    context(whole("1", "word" + "\n" * 90_000 + "["), tokens=20_000)
    assert time.process_time() - started < 5
