"""What no OpenAPI document can say of a request, so that valid ones are answered.

That one name of a query string excludes another, and what the collection holds.
"""

from __future__ import annotations

import schemathesis

DIMENSIONS = 384
COLLECTION = "stdlib"
ITEM = "zlib.compress"
COLUMN = "module"
VERSION = "8321000000000000321"
TEMPLATE = "about {}"  # the server of the test takes no long ones
CLUSTER = "1"
AREA = "-1,-1,1,-1,0,1"
LABELS = "files,numbers"
FILTERS = ("module", "kind__not", "path__startswith", "doc__contains", "summary__gt")
MOST_OF_A_LIST = 1_000 // len(FILTERS)
OWN_NAMES = {"q", "like"}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Change requests that are meant to be valid; the others stay as they are."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    needs_query = case.operation.path.endswith(("/matches.json", "/labels.json"))
    if needs_query and case.method == "GET" and "like" not in (case.query or {}):
        case.query.setdefault("q", "read")
    # Each corner of an area has two numbers, and each label is another one
    fixed = {"by": COLUMN, "v": VERSION, "labels": LABELS}
    fixed |= {"_also": [COLLECTION]}
    fixed |= {"_cluster": CLUSTER, "_area": AREA, "_template": TEMPLATE}
    for name, value in fixed.items():
        if name in (case.query or ()):
            case.query[name] = value
    _fit_query(case)
    if case.operation.path.endswith("/axis.json"):
        case.query = _fit_ends(case.query or {})
    if isinstance(case.body, dict):
        _fit_body(case.body)
        for name, value in (("also", [COLLECTION]), ("cluster", CLUSTER)):
            if case.body.get(name):
                case.body[name] = value


def _fit_query(case):
    query = case.query or {}
    if "q" in query and "like" in query:
        del query["like"]
    if "_sort" in query and "_sort_desc" in query:
        del query["_sort_desc"]
    if query.get("_mode") == "words":
        query.pop("_min_cosine", None)
    for name in ("_facet", "_sort", "_sort_desc"):
        if query.get(name):
            query[name] = COLUMN
    if "dimensions" in query:
        query["dimensions"] = DIMENSIONS
    if case.operation.path.endswith(("{collection}.json", "/context.json")):
        columns = [name for name in query if not _is_own(name)]
        for name, known in zip(columns, FILTERS, strict=False):
            query[known] = query.pop(name)
        for name in columns[len(FILTERS) :]:
            del query[name]


def _fit_ends(query):
    """The same with two ends that differ, or four."""
    has_second = any(value for name, value in query.items() if "2" in name)
    ends = {"low": "file", "high_item": ITEM}
    if has_second:
        ends |= {"low2_item": ITEM, "high2": "sum"}
    others = {name: query[name] for name in query if name[:3] not in ("low", "hig")}
    return {**others, **{name: [value] for name, value in ends.items()}}


def _is_own(name):
    return name in OWN_NAMES or name.startswith("_") or name.split("__")[0] in FILTERS


def _fit_body(body):
    if isinstance(body.get("vector"), list):
        body["vector"] = (body["vector"] * DIMENSIONS)[:DIMENSIONS]
        if not any(body["vector"]):
            body["vector"] = [1.0] * DIMENSIONS  # zeros have no direction
    if isinstance(body.get("area"), list):
        body["area"] = body["area"][: len(body["area"]) // 2 * 2]
    if body.get("like") is not None:
        body["like"] = ITEM
    if body.get("dimensions") is not None:
        body["dimensions"] = DIMENSIONS
    if body.get("sort") is not None:
        body.pop("sort_desc", None)
    for name in ("facet", "sort", "sort_desc"):
        if body.get(name) is not None:
            body[name] = COLUMN
    if body.get("filters"):
        # The most that one request may have
        values = [
            each[:MOST_OF_A_LIST] if isinstance(each, list) else each
            for each in body["filters"].values()
        ]
        body["filters"] = dict(zip(FILTERS, values, strict=False))
