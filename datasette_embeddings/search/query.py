"""What a visitor typed: words, phrases and excluded words."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Words that count; more would be a text, of which the model knows more
MOST_WORDS = 64
PART = re.compile(
    # Only one way to read a phrase, so that none is tried again and again
    r'"(?P<phrase>[^"\w]*\w[^"]*)"|(?<!\S)-(?P<without>\w{3,})|(?P<word>\w+)'
)
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Query:
    """A text to search for, and how it is read.

    A text of excluded words only is searched for as it is.
    """

    #: As it was typed
    typed: str
    #: What the model embeds: without quotation marks and excluded words
    text: str
    #: Words to look for, each once
    words: tuple[str, ...] = ()
    #: Texts in quotation marks, which must be there
    phrases: tuple[str, ...] = ()
    #: Words behind a minus, which must not be there
    without: tuple[str, ...] = ()

    @classmethod
    def read(cls, typed: str) -> Query:
        """The query that is typed as ``backup "primary key" -windows``."""
        parts = [match.groupdict() for match in PART.finditer(typed)]
        meant = " ".join(part["phrase"] or part["word"] or "" for part in parts)
        words = {word.lower(): word for word in reversed(WORD.findall(meant))}
        if not words:
            return cls(typed, typed)
        first = tuple(reversed(words.values()))[:MOST_WORDS]
        phrases = tuple(part["phrase"] for part in parts if part["phrase"])
        without = tuple(part["without"] for part in parts if part["without"])
        text = typed
        if phrases or without:
            text = PART.sub(_without_marks, typed).strip()
        return cls(typed, text, first, phrases, without)

    @property
    def is_unfinished(self) -> bool:
        """Whether the last word may be the beginning of one."""
        return bool(self.words) and self.typed[-1:].isalnum()


def _without_marks(part: re.Match[str]) -> str:
    return part["phrase"] or part["word"] or ""
