"""Shared by all benchmarks: run both sides in turn, and print one line."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

#: The name of this package where times are kept by name
OURS = "ours"


def median_seconds(
    turns: int, works: Mapping[str, Callable[[], object]], *, runs: int = 1
) -> dict[str, float]:
    """The median time of each of *works*, which take turns, so that noise affects all.

    In each turn a work runs *runs* times: before the first, the caches of the processor
    hold what the others left.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(turns):
        for name, work in works.items():
            times[name] += [seconds(work) for _ in range(runs)]
    return {name: statistics.median(each) for name, each in times.items()}


def seconds(work: Callable[[], object]) -> float:
    """How long *work* takes, once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def print_speedup(
    work: str, times: Mapping[str, float], peer: str, *, at_least: float | None = None
) -> None:
    """Print how many times as fast as *peer* this package is."""
    ratio = times[peer] / times[OURS]
    figures = [f"ours {duration(times[OURS])}", f"{peer} {duration(times[peer])}"]
    print_line(work, [*figures, f"{ratio:.1f}x as fast"], ratio, "x", at_least=at_least)


def print_share(
    work: str, times: Mapping[str, float], peer: str, *, at_most: float | None = None
) -> None:
    """Print how many times the time of *peer* this package takes."""
    ratio = times[OURS] / times[peer]
    figures = [f"ours {duration(times[OURS])}", f"{peer} {duration(times[peer])}"]
    print_line(work, [*figures, f"{ratio:.2f}x its time"], ratio, "x", at_most=at_most)


def print_line(
    work: str,
    figures: list[str],
    found: float,
    unit: str = "",
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> None:
    """Print *work*, its *figures*, and whether the one *found* is within its bound."""
    parts = [work, *figures]
    if at_least is not None:
        parts.append(f"hold >= {at_least:g}{unit}: {_verdict(found >= at_least)}")
    if at_most is not None:
        parts.append(f"hold <= {at_most:g}{unit}: {_verdict(found <= at_most)}")
    print(" | ".join(parts), flush=True)


def duration(time_s: float) -> str:
    """*time_s* in a suitable unit."""
    return f"{time_s:.2f} s" if time_s >= 1 else f"{time_s * 1000:.2f} ms"


def _verdict(holds: bool) -> str:
    return "yes" if holds else "NO"
