"""What the plugin adds to the start of every ``datasette`` command.

    python benchmarks/start_up.py

Measured: the processor time of ``datasette --version``, as a whole process.  Against:
the same with an empty plugin in place of this one.  Both find numpy installed, which
Datasette 0.65.5 and sqlite-utils import themselves wherever it is.

Must hold: at most 1.03 times the processor time.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

from commands import datasette_environment, run
from measuring import OURS, print_share

PEER = "an empty plugin"
TURNS = 40
AT_MOST = 1.03


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        ours, empty = Path(name, "ours"), Path(name, "empty")
        (empty / "datasette_embeddings").mkdir(parents=True)
        ours.mkdir()
        for module in ("__init__", "datasette_plugin", "sqlite_utils_plugin"):
            (empty / "datasette_embeddings" / f"{module}.py").touch()
        sides = {OURS: datasette_environment(ours), PEER: datasette_environment(empty)}
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(TURNS):
            for side, environment in sides.items():
                times[side].append(processor_seconds(environment))
    medians = {side: statistics.median(each) for side, each in times.items()}
    print_share("datasette --version", medians, PEER, at_most=AT_MOST)


def processor_seconds(environment: Mapping[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run("datasette", "--version", environment=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    user = after.ru_utime - before.ru_utime
    return user + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    main()
