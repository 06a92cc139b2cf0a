"""What ``evaluate`` prints: a table of figures, sentences, and failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import click

from datasette_embeddings.cli.output import Row, printable, write
from datasette_embeddings.search.calibration import (
    LEAST_OFF_TOPIC,
    MOST_REAL,
    Calibration,
)
from datasette_embeddings.search.evaluation import (
    ALL_KINDS,
    DEPTH,
    MEASURES,
    TOP,
    Outcome,
    Run,
    compare,
)

HEADINGS = {
    "mrr": "MRR",
    "ndcg_10": "nDCG@10",
    "recall_10": "recall@10",
    "right_at_1": "right at 1",
}
# Documents of a failure that are shown, and its answers
SHOWN = 3
# Digits after the point of a figure for programs
DIGITS = 6


def show(runs: Sequence[Run], output_format: str | None) -> None:
    """Print the figures of *runs*; for people also what follows from them."""
    if output_format is not None:
        write(list(_rows(runs)), output_format)
        return
    write(list(_cells(runs)), "table")
    lines = list(_sentences(runs))
    if lines:
        click.echo()
    for line in lines:
        click.echo(line)


def _kinds(runs: Sequence[Run]) -> list[str]:
    """``all``, and the kinds of the questions, if there are several."""
    kinds = dict.fromkeys(each.question.kind for each in runs[0].outcomes)
    named = [kind for kind in kinds if kind is not None]
    return [ALL_KINDS, *named] if len(kinds) > 1 else [ALL_KINDS]


def _are_of_several_collections(runs: Sequence[Run]) -> bool:
    return len({run.collection for run in runs}) > 1


def _rows(runs: Sequence[Run]) -> Iterator[Row]:
    """The figures of each kind and run, for programs."""
    several = _are_of_several_collections(runs)
    for kind in _kinds(runs):
        for run in runs:
            summary = run.summary(kind)
            yield {
                **({"collection": run.collection} if several else {}),
                "mode": run.mode,
                "kind": kind,
                "n": summary.count,
                **{name: round(summary.means[name], DIGITS) for name in MEASURES},
                "p50_ms": round(summary.p50_ms, 2),
            }


def _cells(runs: Sequence[Run]) -> Iterator[Row]:
    """The same with intervals, for people."""
    several = _are_of_several_collections(runs)
    for kind in _kinds(runs):
        for run in runs:
            summary = run.summary(kind)
            figures = {
                HEADINGS[name]: f"{summary.means[name]:.3f} "
                f"({summary.low[name]:.2f}\N{EN DASH}{summary.high[name]:.2f})"
                for name in MEASURES
            }
            yield {
                "kind": kind,
                **({"collection": run.collection} if several else {}),
                "mode": run.mode,
                "n": summary.count,
                **figures,
                "p50 ms": f"{summary.p50_ms:.1f}",
            }


def _sentences(runs: Sequence[Run]) -> Iterator[str]:
    """Which run is better, and the kinds in which the other one certainly is."""
    several = _are_of_several_collections(runs)

    def name(run: Run) -> str:
        return f"{run.collection} ({run.mode})" if several else run.mode

    for one, other in combinations(runs, 2):
        if several and (one.mode != other.mode or one.collection == other.collection):
            continue
        found = compare(one, other)
        yield found.sentence(name)
        for kind in _kinds(runs)[1:]:
            of_kind = compare(one, other, kind)
            if of_kind.is_certain and of_kind.better is not found.better:
                yield f"  but of the kind {kind!r}, {of_kind.sentence(name)}"


def show_failures(runs: Sequence[Run], *, err: bool) -> None:
    """Print the questions whose answers are not in the top 10, and what is."""
    for run in runs:
        failures = [each for each in run.outcomes if each.is_failure]
        click.echo(
            f"\n{run.collection}, mode {run.mode}: {len(failures):,} of "
            f"{len(run.outcomes):,} questions without an answer among the {TOP} best",
            err=err,
        )
        for each in failures:
            for line in _failure(each):
                click.echo(printable(line), err=err)


def show_calibration(
    calibration: Calibration | None, output_format: str | None
) -> bool:
    """Print from when on an answer is close, and what that flags; False without one."""
    if calibration is None:
        return True
    off_topic, real = calibration.flagged()
    flagged = (
        f"{_share(off_topic, len(calibration.off_topic))} questions off topic and "
        f"{_share(real, len(calibration.real))} real ones"
    )
    if calibration.threshold is None:
        message = (
            f"No closeness flags {LEAST_OFF_TOPIC} % of the questions off topic and at "
            f"most {MOST_REAL} % of the real ones: one that flags {flagged} is the "
            "nearest to that. Nothing was stored"
        )
        click.echo(f"Error: {message}", err=True)
        return False
    click.echo(
        f"\nStored: an answer is close from a closeness of "
        f"{calibration.threshold:.3f} on. That flags {flagged}",
        err=output_format is not None,
    )
    return True


def _share(count: int, total: int) -> str:
    return f"{count:,} of {total:,} ({count / total:.0%})"


def _failure(outcome: Outcome) -> Iterator[str]:
    question = outcome.question
    yield f"  {question.text}" + (f"  ({question.kind})" if question.kind else "")
    yield f"    expected  {_some(sorted(question.relevant))}, {_place(outcome)}"
    yield f"    found     {', '.join(outcome.ranking[:SHOWN]) or 'nothing'}"


def _place(outcome: Outcome) -> str:
    for place, each in enumerate(outcome.ranking, 1):
        if each in outcome.question.relevant:
            return f"at place {place}"
    return f"not among the {DEPTH} best"


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else ""
    return ", ".join(ids[:SHOWN]) + more
