from __future__ import annotations

import base64
import random
import re
import sys
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from datasette_embeddings import chunking
from datasette_embeddings.chunking import FEWEST_WORDS, WORD, Chunk, split
from datasette_embeddings.documents import METHODS, Chunking
from datasette_embeddings.errors import InvalidInputError, MissingLibraryError

TEXTS = {
    "prose": "Dr. Smith baked bread. It rose all night, e.g. in the cellar!  Did it?"
    "\n\nA second paragraph has one sentence that is too long for a chunk of its own.\n"
    " \n\tThe third one\nbreaks its lines.",
    "markdown": "# Bread\n\nFlour, water and salt.\n\n```\n# no heading\n```\n\n"
    "Yeast\n=====\n\nIt rises.\n\n- one\n- two\n",
    "windows": "# One\r\n\r\nThe first.\r\n\r\n# Two\r\n\r\nThe second, longer.\r\n",
    "long word": "a" * 5_000,
    "no spaces": "日本語の文章には空白がありません。" * 40,
    "joiners": "👩‍👩‍👧‍👦🏳️‍🌈" * 60,
    "accents": "Smo\u0308rga\u030asbord İstanbul Straße ﬁn " * 20,
    "scripts": "Привет, мир! สวัสดีชาวโลก שלום עולם مرحبا بالعالم. 안녕하세요 " * 8,
}


FIVE = "one two three four five"


@pytest.fixture(params=TEXTS.values(), ids=TEXTS)
def text(request):
    return request.param


@pytest.fixture(params=METHODS)
def method(request):
    return installed(request.param)


def installed(method):
    if method == "sentences":
        pytest.importorskip("sentencex")
    return method


def chunks_of(model, text, method, size, overlap=0):
    [tokens] = model.token_spans([text])
    return split(text, Chunking(method, size, overlap), tokens=tokens, size=size)


def texts_of(chunks):
    return [chunk.text for chunk in chunks]


def own_tokens(model, texts):
    """How many tokens each text has besides the two that the model adds."""
    [added] = model.count_tokens([""])
    return [count - added for count in model.count_tokens(texts)]


def slice_of(text, position, chunk):
    """The chunk that *position* and the offsets of *chunk* name; headings are kept."""
    start, end = chunk.start, chunk.end
    passage = text[start:end].strip()
    return Chunk(position, start, end, passage, headings=chunk.headings)


def shared_tokens(tokens, chunks):
    """How many tokens each chunk repeats of the one before."""
    return [
        sum(after.start <= start < before.end for start, _end in tokens)
        for before, after in pairwise(chunks)
    ]


def lost(text, chunks):
    """What of *text* is in no chunk."""
    kept = {place for chunk in chunks for place in range(chunk.start, chunk.end)}
    return "".join(char for place, char in enumerate(text) if place not in kept)


@pytest.mark.parametrize(("size", "overlap"), [(12, 0), (12, 4), (254, 0)])
def test_a_chunk_is_the_slice_of_the_document_that_its_offsets_name(
    model, text, method, size, overlap
):
    chunks = chunks_of(model, text, method, size, overlap)
    assert chunks == [slice_of(text, *each) for each in enumerate(chunks)]


@pytest.mark.parametrize("size", [12, 254])
def test_no_chunk_has_more_tokens_than_the_size(model, text, method, size):
    counts = own_tokens(model, texts_of(chunks_of(model, text, method, size)))
    assert [count for count in counts if not 0 < count <= size] == []


def test_what_is_cut_inside_a_word_is_read_whole_too(model):
    """A part of a word may have more tokens by itself than it had in the word."""
    noise = base64.b64encode(random.Random(7).randbytes(60_000)).decode()
    counts = own_tokens(model, texts_of(chunks_of(model, noise, "fixed", 254)))
    assert len(counts) > 100
    assert max(counts) <= 254


@pytest.mark.parametrize("size", [1, 12, 254])
def test_only_white_space_is_in_no_chunk(model, text, method, size):
    chunks = chunks_of(model, text, method, size)
    assert lost(text, chunks).strip() == ""
    assert all(a.end <= b.start for a, b in pairwise(chunks))


@pytest.mark.parametrize("overlap", [1, 4, 11])
def test_neighbours_share_at_most_the_overlap(model, text, method, overlap):
    chunks = chunks_of(model, text, method, 12, overlap)
    [tokens] = model.token_spans([text])
    assert max(shared_tokens(tokens, chunks), default=0) <= overlap
    assert lost(text, chunks).strip() == ""
    starts = [chunk.start for chunk in chunks]
    assert starts == sorted(set(starts))


def test_an_overlap_repeats_the_words_that_end_the_chunk_before(model):
    text = "one two three four five six seven"
    assert texts_of(chunks_of(model, text, "fixed", 3, 1)) == [
        "one two three",
        "three four five",
        "five six seven",
    ]


@pytest.mark.parametrize(
    ("text", "size", "lengths"),
    [("日" * 10, 4, [4, 4, 2]), ("!" * 9, 3, [3, 3, 3]), ("?" * 5 + " end", 4, [4, 5])],
    ids=["CJK", "marks", "joins the next word"],
)
def test_a_word_longer_than_the_size_is_cut_between_its_tokens(
    model, method, text, size, lengths
):
    chunks = chunks_of(model, text, method, size)
    assert [len(chunk.text) for chunk in chunks] == lengths


def test_a_word_is_repeated_in_part_where_chunks_overlap(model):
    chunks = chunks_of(model, "日本語文章空白", "fixed", 4, 2)
    assert texts_of(chunks) == ["日本語文", "語文章空", "章空白"]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\t\r\n \u00a0\u2003\n"], ids=repr)
def test_a_text_of_white_space_has_no_chunk(model, method, text):
    assert chunks_of(model, text, method, 12) == []


def test_a_text_that_fits_is_one_chunk_without_its_margins(model, method):
    assert chunks_of(model, "\n  Two sentences. In one!\n", method, 12) == [
        Chunk(0, 3, 25, "Two sentences. In one!")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Dr. Smith met Prof. Jones at 3 p.m. today. He paid $3.50! Why?",
            ["Dr. Smith met Prof. Jones at 3 p.m. today. ", "He paid $3.50! ", "Why?"],
        ),
        ("今日は晴れです。明日は雨です。", ["今日は晴れです。", "明日は雨です。"]),
        ("😀 Żółć. Łódź jest tu.", ["😀 Żółć. ", "Łódź jest tu."]),
    ],
    ids=["abbreviations", "Japanese", "beyond ASCII"],
)
def test_a_sentence_ends_where_a_reader_ends_it(text, expected):
    pytest.importorskip("sentencex")
    assert [text[slice(*span)] for span in chunking.sentences(text)] == expected


def test_sentences_stay_whole_while_they_fit(model):
    pytest.importorskip("sentencex")
    text = "Dr. Smith baked a loaf. It rose. Mr. Jones ate all of it."
    assert texts_of(chunks_of(model, text, "sentences", 10)) == [
        "Dr. Smith baked a loaf. It rose.",
        "Mr. Jones ate all of it.",
    ]


def test_without_sentencex_the_error_tells_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencex", None)
    with pytest.raises(MissingLibraryError, match="pip install 'sentencex>="):
        split("One. Two.", Chunking("sentences"), tokens=[(0, 9)], size=1)


def test_paragraphs_end_at_blank_lines_and_stay_whole_while_they_fit(model):
    text = (
        "A bee hums.\n\nA fly.\n \t\nA long wasp\nsits on the line.\n\n\n\n"
        "An ant walks very far."
    )
    assert texts_of(chunks_of(model, text, "paragraphs", 9)) == [
        "A bee hums.\n\nA fly.",
        "A long wasp\nsits on the line.",
        "An ant walks very far.",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{FIVE}.\n\n# A\n\n{FIVE}\n\n## B\n\n{FIVE}\n",
            [f"{FIVE}.", f"# A\n\n{FIVE}", f"## B\n\n{FIVE}"],
        ),
        (
            f"# A\n\n```sh\n# no {FIVE}\n```\n\n# B\n\n{FIVE}",
            [f"# A\n\n```sh\n# no {FIVE}\n```", f"# B\n\n{FIVE}"],
        ),
        (
            f"# A\n\n    # no {FIVE}\n\n# B\n\n{FIVE}",
            [f"# A\n\n    # no {FIVE}", f"# B\n\n{FIVE}"],
        ),
        (
            f"# A\n\n## B\n\n### C\n\n{FIVE}\n\n# D\n{FIVE}",
            [f"# A\n\n## B\n\n### C\n\n{FIVE}", f"# D\n{FIVE}"],
        ),
        (
            f"One\n===\n\n{FIVE}\n\nTwo\n---\n\n{FIVE}",
            [f"One\n===\n\n{FIVE}", f"Two\n---\n\n{FIVE}"],
        ),
        (
            f"# A\r\n\r\n{FIVE}\r\n\r\nB\r\n---\r\n{FIVE}",
            [f"# A\r\n\r\n{FIVE}", f"B\r\n---\r\n{FIVE}"],
        ),
        ("a\n\n- # no\n\n> # no\n\n#no", ["a\n\n- # no\n\n> # no\n\n#no"]),
        (f"{FIVE}\n\n# End of all of this\n", [FIVE, "# End of all of this"]),
    ],
    ids=[
        "headings",
        "fence",
        "indented code",
        "bare headings",
        "setext",
        "CRLF",
        "no headings",
        "bare at the end",
    ],
)
def test_a_markdown_chunk_begins_at_a_heading(model, text, expected):
    assert texts_of(chunks_of(model, text, "markdown", 100)) == expected


TEN = f"{FIVE} {FIVE}"


@pytest.mark.parametrize(
    ("method", "text", "size", "expected"),
    [
        ("markdown", "Hello.\n\n# A\n\nb", 100, ["Hello.\n\n# A\n\nb"]),
        ("markdown", f"---\n\n# A\n\n{FIVE}", 100, [f"---\n\n# A\n\n{FIVE}"]),
        (
            "markdown",
            f"# A\n\n{FIVE}\n\n# End\n\n# B\n\n{FIVE}",
            100,
            [f"# A\n\n{FIVE}", f"# End\n\n# B\n\n{FIVE}"],
        ),
        ("markdown", f"{FIVE}\n\n# End", 100, [f"{FIVE}\n\n# End"]),
        ("paragraphs", f"{TEN}\n\na b\n\n{TEN}", 12, [f"{TEN}\n\na b", TEN]),
        (
            "paragraphs",
            f"a b\n\n{TEN}",
            10,
            ["a b\n\none two three", f"four five {FIVE}"],
        ),
        (
            "paragraphs",
            f"{TEN}\n\na b",
            11,
            [f"{FIVE} one two", "three four five\n\na b"],
        ),
        ("fixed", f"{TEN} a b", 10, [f"{FIVE} one two", "three four five a b"]),
        ("fixed", "one two three (four five) a", 5, ["one two three (four", "five) a"]),
        ("fixed", f"{TEN} “a” b", 10, [f"{FIVE} one two", "three four five “a” b"]),
        ("paragraphs", "日本語です\n\n日本の文章", 5, ["日本語です", "日本の文章"]),
        ("fixed", f"{TEN} !!! ...", 11, [FIVE, f"{FIVE} !!! ..."]),
        ("fixed", "one two", 100, ["one two"]),
        ("fixed", "one two three four", 1, ["one", "two", "three", "four"]),
    ],
)
def test_a_chunk_of_few_words_joins_a_neighbour(model, method, text, size, expected):
    assert texts_of(chunks_of(model, text, method, size)) == expected


@pytest.mark.parametrize("method", METHODS)
@given(
    text=st.text("ab (日.\n#-", max_size=200),
    size=st.integers(10, 30),
    overlap=st.integers(0, 9),
)
def test_no_chunk_has_few_words_where_there_is_room(text, method, size, overlap):
    installed(method)
    # One token a character: five words of two have room in the smallest size
    text = re.sub(r"[a日.#-]{2,}", "a", text.replace("b", ""))
    tokens = [match.span() for match in re.finditer(r"\S", text)]
    chunks = split(text, Chunking(method, size, overlap), tokens=tokens, size=size)
    words = [len(WORD.findall(each.text)) for each in chunks]
    if sum(words) >= 3 * FEWEST_WORDS:
        assert min(words) >= FEWEST_WORDS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fixed", 0), "at least 1 token, found 0"),
        (("fixed", 5, 5), "from 0 to less than the chunk size, found 5"),
        (("fixed", None, -1), "from 0 to less than the chunk size, found -1"),
    ],
    ids=["size", "overlap", "negative overlap"],
)
def test_chunking_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        Chunking(*arguments)


@pytest.mark.parametrize(
    ("chunking", "message"),
    [
        (Chunking("fixed", 255), "at most 254 tokens.*found 255"),
        (Chunking("fixed", None, 254), "less than the 254 tokens.*found 254"),
    ],
    ids=["size", "overlap"],
)
def test_more_than_the_model_reads_is_refused(model, chunking, message):
    with pytest.raises(InvalidInputError, match=message):
        chunking.checked_size(model.passage_tokens)


@pytest.mark.parametrize(("size", "expected"), [(None, 254), (254, 254), (1, 1)])
def test_the_size_is_what_the_model_reads_unless_it_is_given(model, size, expected):
    assert Chunking("fixed", size).checked_size(model.passage_tokens) == expected


anything = st.text() | st.text("ab \n\r\t#=-`>.!日é\u0085\u2028\x1c", max_size=80)


@pytest.mark.parametrize("method", METHODS)
@given(
    text=anything,
    size=st.integers(1, 5),
    overlap=st.integers(0, 4),
    token=st.sampled_from([r"\S+", r"\S"]),
)
def test_any_text_is_split_into_slices_that_fit_and_cover_it(
    text, method, size, overlap, token
):
    assume(overlap < size)
    installed(method)
    tokens = [match.span() for match in re.finditer(token, text)]
    chunks = split(text, Chunking(method, size, overlap), tokens=tokens, size=size)
    assert chunks == [slice_of(text, *each) for each in enumerate(chunks)]
    for each in chunks:
        assert sum(each.start <= start < each.end for start, _ in tokens) <= size
    assert max(shared_tokens(tokens, chunks), default=0) <= overlap
    assert lost(text, chunks).strip() == ""
