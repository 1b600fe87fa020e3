#!/usr/bin/env python3
"""docs/operations.md against the code: exit codes, metrics, log events and their keys, signals, probes, health names.

Run: python3 tests/obs/documents_test.py     (standard library only; each reader is also run on a small wrong text, its negative control)
"""
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
METRIC = r"(?:stet_[a-z0-9_]+|vllm:[a-z0-9_]+|http_requests_total|http_request_duration_seconds)"


def sources():
    return {str(p.relative_to(ROOT)): p.read_text() for p in sorted((ROOT / "src").rglob("*.cc"))}


def section(page, title):
    """The text under `## title`, up to the next heading of that level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.S | re.M)
    if not found:
        raise AssertionError(f"docs/operations.md has no section '{title}'")
    return found.group(1)


def table_rows(text):
    """Cells of every table row, without heads and rulers."""
    rows = []
    for line in text.splitlines():
        if line.startswith("|") and not re.match(r"^\|[-| :]+\|$", line):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif re.match(r"^\|[-| :]+\|$", line) and rows:
            rows.pop()  # the head stands above its ruler
    return rows


def names_in(cell):
    return re.findall(r"`([^`]+)`", cell)


def enumerators(text, pattern):
    """Name -> number of `kName = 64,` or `kName = 64;`."""
    return {name: int(number) for name, number in re.findall(pattern + r"\s*=\s*(\d+)\s*[,;]", text)}


def metric_names(texts):
    """Names that are registered: string literals which are a metric's whole name."""
    return {name for text in texts for name in re.findall(rf'"({METRIC})"', text)}


def log_calls(text):
    """(event, keys) of every log call with a literal event; events of a ?: both count."""
    calls = []
    for match in re.finditer(r"\blog_(?:debug|info|warn|error|event)\(", text):
        depth, end = 1, match.end()
        while depth > 0:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        body = text[match.end():end - 1]
        head = re.match(r'(?:[^"]*,\s*)?"([a-z]+)",\s*(.*)', body, re.S)
        if not head:
            continue
        folder, rest = head.groups()
        fields_at = rest.find("{{")
        events = re.findall(r'"([a-z_ ]+)"', rest if fields_at < 0 else rest[:fields_at])
        keys = re.findall(r'\{\s*"([a-z_]+)",', rest[fields_at:] if fields_at >= 0 else "")
        calls += [(f"{folder}.{event}", frozenset(keys)) for event in events]
    return calls


def logged(texts):
    """Event -> all keys it is ever written with."""
    events = {}
    for text in texts:
        for event, keys in log_calls(text):
            events.setdefault(event, set()).update(keys)
    return events


class Documents(unittest.TestCase):
    maxDiff = None

    def test_exit_codes_of_stetd(self):
        header = (ROOT / "include/stet/daemon/exit_code.h").read_text()
        codes = set(enumerators(header, r"\b(k[A-Z]\w+)").values())
        self.assertGreater(len(codes), 5)
        documented = {int(row[0]) for row in table_rows(section(PAGE, "Exit codes")) if row[0].isdigit()}
        self.assertEqual(codes, documented)

    def test_exit_codes_of_stet_and_stet_proxy(self):
        for title, path in (("`stet`", "src/cli/commands.h"), ("`stet-proxy`", "src/proxy/main.cc")):
            codes = set(enumerators((ROOT / path).read_text(), r"constexpr int (kExit\w+)").values()) | {0}
            line = next(l for l in section(PAGE, "Exit codes").splitlines() if l.startswith(f"- {title}:"))
            documented = {int(n) for n in re.findall(r"\*\*(\d+)\*\*", line)}
            self.assertEqual(codes - {130}, documented - {130}, title)

    def test_metrics(self):
        documented = [name for row in table_rows(section(PAGE, "Metrics")) for name in names_in(row[0])]
        self.assertEqual(len(documented), len(set(documented)), "a metric is named twice")
        self.assertEqual(metric_names(sources().values()), {re.sub(r"\{.*", "", name) for name in documented})

    def test_log_events_and_their_keys(self):
        documented = {}
        for row in table_rows(section(PAGE, "Logs")):
            documented[names_in(row[0])[0]] = set(names_in(row[1]))
        events = {event: keys for event, keys in logged(sources().values()).items()}
        self.assertEqual(events, documented)

    def test_no_key_stands_for_content(self):
        keys = set().union(*logged(sources().values()).values())
        self.assertIn("prompt_tokens", keys)
        self.assertEqual(keys & {"prompt", "content", "messages", "output", "body", "completion", "input"}, set())

    def test_signals(self):
        source = (ROOT / "src/daemon/signals.cc").read_text()
        handled = set(re.findall(r"\bSIG(TERM|INT|HUP|USR1|USR2|PIPE|QUIT)\b", source))
        documented = {name for row in table_rows(section(PAGE, "Signals")) for name in names_in(row[0])}
        self.assertEqual(handled, documented)

    def test_probes_are_the_routes_without_permission(self):
        source = (ROOT / "src/proxy/routes.cc").read_text()
        probes = set(re.findall(r'\{"(/[a-z]+)", "[^"]+", kProbe, [^}]+Permission::kNone\}', source))
        self.assertGreater(len(probes), 3)
        rows = table_rows(section(PAGE, "Probes"))
        self.assertEqual(probes, {n for row in rows for n in names_in(row[0]) if n.startswith("/")})
        health = (ROOT / "src/server/grpc_server.cc").read_text()
        for name in ("stet.v1.InferenceService", "stet.live"):
            self.assertIn(f'"{name}"', health)
            self.assertIn(f"`{name}`", section(PAGE, "Probes"))

    def test_memory_rows(self):
        named = {name for row in table_rows(section(PAGE, "Memory plan")) for name in names_in(row[0])}
        source = (ROOT / "src/daemon/memory.cc").read_text() + (ROOT / "src/executor/memory_plan.cc").read_text()
        rows = set(re.findall(r'\{"([a-zA-Z ]+)",\s*(?:executor::|k[A-Z]|input\.|plan\.)', source))
        self.assertEqual(rows, named)

    def test_configuration_fields_that_are_named_exist(self):
        fields = set(re.findall(r"^\| `([a-z_.\[\]]+)`", (ROOT / "docs/configuration.md").read_text(), re.M))
        groups = {field.split(".")[0] for field in fields}
        named = {n for n in re.findall(r"`([a-z_]+\.[a-z_]+)`", PAGE) if n.split(".")[0] in groups - {"models"}}
        events = set(logged(sources().values()))
        self.assertGreater(len(named), 5)
        cgroup_files = {"memory.max", "memory.high", "memory.limit_in_bytes"}
        self.assertEqual(named - fields - events - cgroup_files, set())

    def test_error_codes_of_the_configuration(self):
        header = (ROOT / "include/stet/daemon/config.h").read_text()
        enum = re.search(r"enum class ConfigErrorCode.*?\{(.*?)\};", header, re.S).group(1)
        codes = set(enumerators(enum, r"\b(k[A-Z]\w+)").values())
        documented = {int(n) for n in re.findall(r"^\| CFG(\d+) ", (ROOT / "docs/configuration.md").read_text(), re.M)}
        self.assertEqual(codes, documented)


class NegativeControls(unittest.TestCase):
    """Each reader sees what it must see in a small text."""

    def test_a_table_loses_its_head_only(self):
        self.assertEqual(table_rows("| exit | meaning |\n|---|---|\n| 0 | fine |\n| 64 | usage |\n"), [["0", "fine"], ["64", "usage"]])

    def test_a_missing_section_is_an_error(self):
        with self.assertRaises(AssertionError):
            section("## Logs\n", "Metrics")

    def test_a_section_ends_at_the_next(self):
        self.assertEqual(section("## A\none\n## B\ntwo\n", "A"), "one\n")

    def test_metric_names_are_whole_literals(self):
        text = 'm->counter("stet_x_total", "stet_y is no name"); f("vllm:z"); g("stet-proxy")'
        self.assertEqual(metric_names([text]), {"stet_x_total", "vllm:z"})

    def test_events_and_keys_of_log_calls(self):
        text = '''log_info("daemon", "ready", {{"model", id()}, {"n", 3}});
                  obs::log_event(live ? kInfo : kError, "daemon", live ? "up" : "down", {{"ms", f(1, 2)}});
                  log_warn("proxy", "bare");'''
        self.assertEqual(
            logged([text]), {"daemon.ready": {"model", "n"}, "daemon.up": {"ms"}, "daemon.down": {"ms"}, "proxy.bare": set()})

    def test_numbers_of_enumerators(self):
        self.assertEqual(enumerators("kOk = 0,  // x\n kUsage = 64,", r"\b(k[A-Z]\w+)"), {"kOk": 0, "kUsage": 64})


if __name__ == "__main__":
    unittest.main()
