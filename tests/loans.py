"""Sentences about loans: the same words, and another meaning when two names swap.

What the tiny cross-encoder of the tests has learned (``scripts``), and what vectors of
whole sentences tell badly.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

NAMES = (
    *("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo"),
    *("Iris", "Jack", "Kim", "Leo", "Mona", "Nils", "Olga", "Paul"),
)
THINGS = ("lamp", "book", "bicycle", "tent", "drill", "piano", "ladder", "camera")
TEXTS = (
    "{lender} lends {borrower} a {thing}",
    "{borrower} borrows a {thing} from {lender}",
)
QUESTIONS = (
    "what did {lender} lend to {borrower}",
    "what did {borrower} borrow from {lender}",
)


@dataclass(frozen=True)
class Loan:
    """Who lends what to whom."""

    lender: str
    borrower: str
    thing: str = ""

    def said(self, pattern: str) -> str:
        return pattern.format(**vars(self))

    def answers(self, asked: Loan) -> bool:
        """Whether it is what a question about *asked* asks for."""
        return (self.lender, self.borrower) == (asked.lender, asked.borrower)


PAIRS = [Loan(*pair) for pair in permutations(NAMES, 2)]
# Never shown in training: what is found of them was understood
HELD_OUT = [loan for place, loan in enumerate(PAIRS) if place % 5 == 0]
