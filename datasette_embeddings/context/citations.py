"""Citations such as [1] in a text that comes in parts, checked against the sources."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

# Of one citation, in characters, and of a number in it: [2024] is a year
LONGEST, MOST_DIGITS = 60, 3
_INSIDE = rf"[0-9,;\u0020\u00a0\u2013\u2014-]{{1,{LONGEST}}}"
# Code and its end, or brackets with nothing but numbers; those of a link come before (
_TOKEN = re.compile(rf"`+|\n|\[({_INSIDE})\](\()?")
# What may become one of them with the next part
_UNFINISHED = re.compile(rf"(`+|\[({_INSIDE})?\]?)\Z")
_NUMBERS = re.compile(
    rf"\s*\d{{1,{MOST_DIGITS}}}(\s*[,;\u2013\u2014-]\s*\d{{1,{MOST_DIGITS}}})*\s*",
    re.ASCII,
)
_ONE_OR_RANGE = re.compile(r"(\d+)(?:\s*[\u2013\u2014-]\s*(\d+))?", re.ASCII)
# Characters that wait for the next part
LONGEST_UNFINISHED = 1_000
# A run of so many begins a block of code, which goes on after the end of its line
BLOCK = "```"


class CitationCheck:
    """Finds the citations of a text, and marks the numbers that no source has.

    A citation is a pair of brackets with nothing but numbers of up to three digits,
    such as [1], [1, 9] and [1-3].  Code in backticks has none, and an index 0 directly
    after a word is none.  A link such as [1](…) cites, and is never changed.  All of
    the text stays: a mark stands behind the numbers, in their brackets.

    *given* are the numbers of the sources.
    """

    def __init__(self, given: Collection[int]) -> None:
        self.given = frozenset(given)
        #: The numbers of sources that were cited, in the order of their first citation
        self.cited: list[int] = []
        #: Numbers that were cited, and that no source has, in the same order
        self.unknown: list[int] = []
        self._rest = ""
        # The backticks that end the code in which the text is
        self._code = ""
        self._before = ""

    def checked(self, part: str) -> str:
        """The text that is ready after *part*; the rest comes with the next parts."""
        text = self._rest + part
        unfinished = _UNFINISHED.search(text)
        end = len(text) if unfinished is None else unfinished.start()
        if len(text) - end > LONGEST_UNFINISHED:
            # A model may write backticks without end: they are not read each time
            end = len(text)
        self._rest = text[end:]
        return self._marked(text[:end])

    def end(self) -> str:
        """The rest of the text, after its last part."""
        rest, self._rest = self._rest, ""
        return self._marked(rest)

    def _marked(self, text: str) -> str:
        found = _TOKEN.sub(self._replaced, text)
        self._before = text[-1:] or self._before
        return found

    def _replaced(self, token: re.Match[str]) -> str:
        written = token[0]
        if written[0] != "[":
            self._follow_code(written)
            return written
        if self._code or not _NUMBERS.fullmatch(token[1]):
            return written
        before = token.string[token.start() - 1] if token.start() else self._before
        numbers = list(_numbers(token[1]))
        if 0 in numbers and before and (before.isalnum() or before in "_)]"):
            return written
        is_link = token[2] is not None
        missing = [each for each in numbers if each not in self.given]
        _add(self.cited, [each for each in numbers if each in self.given])
        if is_link or not missing:
            return written
        _add(self.unknown, missing)
        which = "" if len(missing) == len(numbers) else f": {ranges(missing)}"
        return f"[{token[1].strip()} \N{EM DASH} no such source{which}]"

    def _follow_code(self, written: str) -> None:
        """Note where code begins and ends; in one line, it ends with the line."""
        if written == "\n":
            if not self._code.startswith(BLOCK):
                self._code = ""
        elif not self._code:
            self._code = written
        elif written == self._code or (
            self._code.startswith(BLOCK) and written.startswith(self._code)
        ):
            self._code = ""


def ranges(numbers: Collection[int]) -> str:
    """*numbers* in their order, those in a row as a range: 1-3, 7."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{a}-{b}" if a != b else str(a) for a, b in parts)


def _numbers(inside: str) -> Iterator[int]:
    """The numbers that *inside* names, each once."""
    seen = set()
    for first, last in _ONE_OR_RANGE.findall(inside):
        low, high = sorted((int(first), int(last or first)))
        for number in range(low, high + 1):
            if number not in seen:
                seen.add(number)
                yield number


def _add(to: list[int], numbers: Collection[int]) -> None:
    to += [each for each in numbers if each not in to]
