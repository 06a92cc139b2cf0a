"""Splits a text into chunks that the model reads whole.

Sizes are in tokens of the model.  The caller passes the position of each token, so that
no text is tokenised twice.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import NamedTuple, TypeAlias

from datasette_embeddings.documents import AUTO_CHUNKS, Chunking
from datasette_embeddings.errors import MissingLibraryError

#: Start and end of a piece of text, in characters
Span: TypeAlias = tuple[int, int]
#: The span of each token of a text
TokenSpans: TypeAlias = Sequence[Span]
#: Divides a text into pieces that lie side by side and cover all of it
Cut: TypeAlias = Callable[[str], list[Span]]

#: A chunk of fewer words joins a neighbour: by itself it carries too little meaning
FEWEST_WORDS = 5
#: The end of an id that a chunk may have.  Where only long documents are in chunks, one
#: with such an id is in chunks too
CHUNK_ID = re.compile(r"#[0-9]+\Z")
LINE_END = re.compile(r"\n")
WORD_END = re.compile(r"\s+")
# A word begins with a letter or digit and ends at white space.  In scripts without
# spaces (Thai, Khmer, Chinese, Japanese and their kin) each character counts
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}][^\s{UNSPACED}]*")
# A text without such a line is not taken for Markdown
HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+\S", re.MULTILINE)
#: The most characters of a heading that are kept; there are six levels
HEADING_CHARACTERS = 100


class Heading(NamedTuple):
    """A heading of a text in Markdown: where its line begins, level 1 to 6, words."""

    start: int
    level: int
    text: str


@dataclass(frozen=True)
class Chunk:
    """A piece of a document: ``content[start:end]`` of it is *text*."""

    position: int
    start: int
    end: int
    text: str
    #: What the model reads before *text*; None if nothing
    title: str | None = None
    #: The headings of the document that are open where it starts, from the outermost
    headings: tuple[str, ...] = ()

    @property
    def passage(self) -> str:
        """What the model reads."""
        return self.text if self.title is None else f"{self.title}\n\n{self.text}"


def chunk_id(document_id: str, position: int) -> str:
    """The item id of a chunk: ``guide#0`` is the first of ``guide``."""
    return f"{document_id}#{position}"


def split(
    text: str,
    chunking: Chunking,
    *,
    tokens: TokenSpans,
    size: int,
    may_be_markdown: bool = True,
    pieces: Sequence[Span] | None = None,
) -> list[Chunk]:
    """The chunks of *text*, of at most *size* tokens each, none of white space only.

    None has fewer than :data:`FEWEST_WORDS` words, unless *text* has fewer, or *size*
    leaves no room for them, or a plugin has chosen the *pieces*.  In a text that
    *may_be_markdown*, lines such as "## Install" are headings.
    """
    splitter = _Splitter(text, tokens, size, chunking.overlap)
    sections: Sequence[Span] = [(0, len(text))]
    headings = list[Heading]()
    is_in_sections = chunking.method == "markdown"
    if is_in_sections or (may_be_markdown and HEADING.search(text)):
        found, headings = _outline(text)
        # No chunk reaches beyond the part below a heading
        sections = found if is_in_sections else sections
    cuts = CUTS.get(chunking.method, CUTS[AUTO_CHUNKS])
    sections = sections if pieces is None else pieces
    spans = [span for section in sections for span in splitter.chunks(section, cuts)]
    spans = splitter.without_short(spans) if pieces is None else spans
    chunks: list[Chunk] = []
    waiting, opened = list(reversed(headings)), list[Heading]()
    for start, end in spans:
        passage = text[start:end]
        start += len(passage) - len(passage.lstrip())
        passage = passage.strip()
        while waiting and waiting[-1].start <= start:
            heading = waiting.pop()
            opened = [each for each in opened if each.level < heading.level]
            opened.append(heading)
        if passage:
            above = tuple(each.text for each in opened if each.text)
            chunks.append(
                Chunk(len(chunks), start, start + len(passage), passage, headings=above)
            )
    return chunks


def _cut_after(end: re.Pattern[str], text: str) -> list[Span]:
    return _side_by_side([0, *(match.end() for match in end.finditer(text))], len(text))


def _side_by_side(starts: Sequence[int], length: int) -> list[Span]:
    """The pieces that begin at *starts*, the first of which is the beginning."""
    cuts = [0, *starts[1:], length]
    return [span for span in pairwise(cuts) if span[0] < span[1]]


def sentences(text: str) -> list[Span]:
    """The sentences of *text*, in any of the languages that sentencex supports."""
    try:
        from sentencex import get_sentence_boundaries
    except ImportError as error:
        raise MissingLibraryError("sentencex", "splitting into sentences") from error
    found = get_sentence_boundaries("en", text)
    return _side_by_side([each["start_index"] for each in found], len(text))


def _outline(text: str) -> tuple[list[Span], list[Heading]]:
    """The pieces of a text in Markdown that begin at a heading, and the headings.

    A piece with nothing below its heading joins the next.
    """
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark")
    # Where paragraphs are is enough; a heading is read below
    blocks = MarkdownIt("commonmark").disable("inline")
    starts = [0, *(match.end() for match in LINE_END.finditer(text)), len(text)]
    # A carriage return would count as a line of its own
    tokens = blocks.parse(text.replace("\r", " "))
    sections, headings = [0], list[Heading]()
    has_content = False
    for token, inside in pairwise(tokens):
        if token.level or token.map is None:
            continue
        if token.type == "heading_open":
            start = starts[token.map[0]]
            if has_content:
                sections.append(start)
            has_content = False
            parts = markdown.parseInline(inside.content)[0].children or ()
            words = "".join(
                " " if each.type == "softbreak" else each.content for each in parts
            )
            level = int(token.tag.removeprefix("h"))
            headings.append(Heading(start, level, words[:HEADING_CHARACTERS]))
        elif token.type != "heading_close":
            has_content = True
    return _side_by_side(sections, len(text)), headings


_paragraphs = partial(_cut_after, re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+"))
_lines = partial(_cut_after, LINE_END)
_words = partial(_cut_after, WORD_END)
#: How each method cuts: coarse cuts first, the next one for pieces that are too long
CUTS: dict[str, tuple[Cut, ...]] = {
    "fixed": (_words,),
    "sentences": (sentences, _words),
    "paragraphs": (_paragraphs, _lines, _words),
    "markdown": (_paragraphs, _lines, _words),
    AUTO_CHUNKS: (_paragraphs, _lines, _words),
}


class _Splitter:
    """A text whose tokens can be counted between any two positions."""

    def __init__(self, text: str, tokens: TokenSpans, size: int, overlap: int) -> None:
        self._text = text
        self._starts = [start for start, end in tokens if start < end]
        self._size = size
        self._overlap = overlap

    def count(self, start: int, end: int) -> int:
        """How many tokens begin from *start* to before *end*."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def fits(self, start: int, end: int) -> bool:
        return self.count(start, end) <= self._size

    def chunks(self, span: Span, cuts: Sequence[Cut]) -> Iterator[Span]:
        """*span* in chunks that fit, cut as coarsely as possible.

        A piece that is too long is cut in the next finer way, apart from its
        neighbours.
        """
        start, end = span
        pieces: list[Span] = []
        for low, high in cuts[0](self._text[start:end]):
            piece = start + low, start + high
            if self.fits(*piece):
                pieces.append(piece)
            elif len(cuts) > 1:
                yield from self.packed(pieces)
                pieces = []
                yield from self.chunks(piece, cuts[1:])
            else:
                pieces += self._between_tokens(*piece)
        yield from self.packed(pieces)

    def _between_tokens(self, start: int, end: int) -> Iterator[Span]:
        """A word of too many tokens, cut where tokens begin."""
        # In pieces of the overlap, so that one can be in two chunks.  A little less
        # than the size: a part of a word may have more tokens by itself
        step = self._overlap or self._size - self._size // 10
        first = bisect_left(self._starts, start)
        last = bisect_left(self._starts, end)
        yield from pairwise([start, *self._starts[first + step : last : step], end])

    def packed(self, pieces: Sequence[Span]) -> Iterator[Span]:
        """Neighbouring *pieces* together, as many as fit."""
        taken: list[Span] = []
        for piece in pieces:
            if taken and not self.fits(taken[0][0], piece[1]):
                yield taken[0][0], taken[-1][1]
                taken = self._repeated(taken, piece)
            taken.append(piece)
        if taken:
            yield taken[0][0], taken[-1][1]

    def _repeated(self, taken: list[Span], piece: Span) -> list[Span]:
        """The last of *taken* that begin the next chunk too, before *piece*."""
        for place, (start, _end) in enumerate(taken[1:], 1):
            is_overlap = self.count(start, piece[0]) <= self._overlap
            if is_overlap and self.fits(start, piece[1]):
                return taken[place:]
        return []

    def without_short(self, spans: Sequence[Span]) -> list[Span]:
        """*spans* where those of too few words have joined a neighbour.

        They join the one before, or else the one after.  If neither has room, one of
        them gives up the words next to it.
        """
        kept: list[Span] = []
        waiting = list(reversed(spans))
        while waiting:
            start, end = waiting.pop()
            words = WORD.finditer(self._text, start, end)
            if sum(1 for _ in islice(words, FEWEST_WORDS)) == FEWEST_WORDS:
                kept.append((start, end))
            elif kept and self.fits(kept[-1][0], end):
                kept[-1] = kept[-1][0], end
            elif waiting and self.fits(start, waiting[-1][1]):
                waiting[-1] = start, waiting[-1][1]
            elif kept and (cut := self._cut(kept[-1][0], end, backwards=True)):
                kept[-1] = kept[-1][0], cut
                kept.append((cut, end))
            elif (
                waiting
                and (cut := self._cut(start, waiting[-1][1]))
                and all(cut < span[0] for span in waiting[-2:-1])
            ):
                kept.append((start, cut))
                waiting[-1] = cut, waiting[-1][1]
            else:
                kept.append((start, end))
        return kept

    def _cut(self, start: int, end: int, *, backwards: bool = False) -> int | None:
        """The first or last position after white space where both parts are chunks.

        That is, both fit and have enough words; None if there is no such position.
        """
        words = [match.start() for match in WORD.finditer(self._text, start, end)]
        cuts = [match.end() for match in WORD_END.finditer(self._text, start, end)]
        for cut in reversed(cuts) if backwards else cuts:
            before = bisect_left(words, cut)
            has_words = FEWEST_WORDS <= before <= len(words) - FEWEST_WORDS
            if has_words and self.fits(start, cut) and self.fits(cut, end):
                return cut
        return None
