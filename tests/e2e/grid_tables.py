"""The product's tables as the pages print them. C++ tests hold each page equal to its table, so nothing is typed a second time here."""
import re
from dataclasses import dataclass

from conftest import ROOT


def rows_of(page, num_cells):
    """Cells of a page's tables without backticks; head and ruler left out."""
    for line in (ROOT / "docs" / page).read_text().splitlines():
        cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == num_cells and cells[0].startswith("`"):
            yield cells


@dataclass(frozen=True)
class Rule:
    """One row of docs/parameters.md."""
    field: str
    kind: str  # number, integer, entries, bytes
    low: float
    open_low: bool  # the lower bound itself is outside
    high: str  # a number, or what it comes from


def parameter_rules():
    rules = {}
    for field, kind, text, *_ in rows_of("parameters.md", 6):
        open_range = re.fullmatch(r"> (\S+), <= (.+)", text)
        low, high = open_range.groups() if open_range else text.split("..", 1)
        field = field.strip("`")
        rules[field] = Rule(field, kind, float(low), open_range is not None, high)
    return rules


@dataclass(frozen=True)
class Field:
    """One row of docs/request_fields.md, for one route."""
    route: str  # chat, completions
    name: str  # "guided_*" stands as a name of its family
    kind: str
    use: str  # applied, no effect, refused, only
    only: str  # JSON text of the one value that is served
    proto: str


def request_fields():
    for name, routes, kind, use, proto in rows_of("request_fields.md", 5):
        name = name.strip("`").replace("*", "json")
        only = use.removeprefix("only ").strip("`") if use.startswith("only ") else ""
        for route in ("chat", "completions") if routes == "both" else (routes,):
            yield Field(route, name, kind, "only" if only else use, "1" if only == "n" else only, proto.strip("`"))


def error_reasons():
    """docs/errors.md: reason -> (gRPC code, the codes that HTTP shows for it)."""
    return {reason.strip("`"): (code, set(re.findall(r"`([a-z_]+)`", http)))
            for reason, code, http, _ in rows_of("errors.md", 4)}
