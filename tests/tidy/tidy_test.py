#!/usr/bin/env python3
"""What no tool knows about this tree: arrows between folders, a README per folder, banned names, left-over notes.

Run: python3 tests/tidy/tidy_test.py     (standard library only; each rule is also run on a small wrong tree, its negative control)
"""
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ENDINGS = (".h", ".cc", ".cu", ".cuh")
EVERYBODY_MAY_INCLUDE = {"base", "obs"}
MAX_SOURCE_LINES = 700

# name -> what to use instead
BANNED = {
    r"\bstd::rand\b": "a seeded generator passed as an argument",
    r"\bstd::endl\b": "'\\n'",
    r"\bstd::regex\b": "PCRE2 with limits",
    r"\bassert\(": "STET_CHECK or STET_DCHECK",
    r"\bsleep_for\b": "a condition or the injected Clock",
    r"\busing namespace\b": "qualified names",
    r"-ffast-math": "nothing: bits would change (C4)",
    r"\bFIXME\b|\bTODO\b|\bXXX\b": "an issue, or the work itself",
}
GETENV_FOLDERS = {"daemon", "cli"}


def tracked_files(root):
    """Files of the tree that git knows or would add; every file when `root` is no checkout."""
    try:
        out = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True, text=True
        ).stdout
        return [root / line for line in out.splitlines() if (root / line).is_file()]
    except (subprocess.CalledProcessError, FileNotFoundError):
        skip = {"build", "models", ".venv", ".git"}
        found = []
        for base, dirs, names in os.walk(root):
            dirs[:] = [d for d in dirs if d not in skip]
            found += [Path(base) / n for n in names]
        return found


def sources(root):
    return [f for f in tracked_files(root) if f.suffix in SOURCE_ENDINGS]


def read_arrows(root):
    """The table of src/README.md: folder -> set of folders it may include, or None for all."""
    text = (root / "src" / "README.md").read_text()
    block = re.search(r"```arrows\n(.*?)```", text, re.S).group(1)
    arrows = {}
    for line in block.strip().splitlines():
        left, right = (part.strip() for part in line.split("->"))
        arrows[left] = None if right == "all" else {p.strip() for p in right.split(",") if p.strip() != "-"}
    return arrows


def folder_of(path, root):
    """The folder (noun) a source file belongs to, or None for files outside the table (tests, benchmarks)."""
    parts = path.relative_to(root).parts
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    if parts[:2] == ("include", "stet") and len(parts) > 3:
        return parts[2]
    if parts[0] == "kernels":
        return "kernels"
    return None


def target_of(include, path, root):
    """The folder an include names: (folder, is_private), or (None, False) for a library."""
    if m := re.match(r"stet/v1/|stet/config/|google/rpc/", include):
        return "proto", False
    if m := re.match(r"stet/([a-z_]+)/", include):
        return m.group(1), False
    if m := re.match(r"src/([a-z_]+)/", include):
        return m.group(1), True
    if include.startswith("kernels/"):
        return "kernels", True
    return None, False


def includes_of(path):
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if m := re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line):
            yield number, m.group(1)


def wrong_arrows(root):
    arrows = read_arrows(root)
    problems = []
    for path in sources(root):
        folder = folder_of(path, root)
        if folder is None:
            continue
        if folder not in arrows:
            problems.append(f"{path.relative_to(root)}: folder '{folder}' is not in the table of src/README.md")
            continue
        allowed = arrows[folder]
        for number, include in includes_of(path):
            target, private = target_of(include, path, root)
            if target is None or target == folder:
                continue
            where = f"{path.relative_to(root)}:{number}: includes {include}"
            if private:
                problems.append(f"{where}: a private header of '{target}'")
            elif allowed is None or target in allowed:
                continue
            elif target in EVERYBODY_MAY_INCLUDE and folder not in ("base", "kernels") and not (
                folder == "obs" and target == "obs"
            ):
                continue
            else:
                problems.append(f"{where}: the arrow {folder} -> {target} is not in the table of src/README.md")
    return problems


def kernels_with_foreign_includes(root):
    allowed_standard = {"cstdint", "cstddef", "cmath", "cstring", "immintrin.h", "cpuid.h", "xmmintrin.h"}
    system_calls = {"sys/syscall.h", "unistd.h"}  # where the operating system is asked for registers
    problems = []
    for path in sources(root):
        relative = path.relative_to(root).parts
        if relative[0] != "kernels" and relative[:3] != ("include", "stet", "kernels"):
            continue
        for number, include in includes_of(path):
            if include in allowed_standard or include.startswith(("kernels/", "stet/kernels/")):
                continue
            if not include.count("/") and (path.parent / include).exists():
                continue
            if relative[:2] == ("kernels", "dispatch") and include in system_calls:
                continue
            problems.append(f"{'/'.join(relative)}:{number}: kernels may not include <{include}>")
    return problems


def folders_without_readme(root):
    problems = []
    for folder in sorted(p for p in (root / "src").iterdir() if p.is_dir()):
        if any(folder.glob("*.cc")) and not (folder / "README.md").exists():
            problems.append(f"src/{folder.name}: no README.md (what it owns, its types, its thread, its tests)")
    return problems


def banned_names(root):
    problems = []
    for path in sources(root):
        relative = path.relative_to(root)
        if relative.parts[0] == "benchmarks":  # programs of one file, included by nobody
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            for pattern, instead in BANNED.items():
                if "static_assert(" in line and pattern.startswith(r"\bassert"):
                    continue
                if re.search(pattern, line):
                    problems.append(f"{relative}:{number}: '{re.search(pattern, line).group(0)}': use {instead}")
            if re.search(r"\bgetenv\b", line) and relative.parts[0] == "src" and relative.parts[1] not in GETENV_FOLDERS:
                problems.append(f"{relative}:{number}: the environment is read in daemon and cli only")
    return problems


def long_sources(root):
    return [
        f"{p.relative_to(root)}: {n} lines, at most {MAX_SOURCE_LINES}: two things in one file?"
        for p in sources(root)
        if (n := len(p.read_text(errors="replace").splitlines())) > MAX_SOURCE_LINES
    ]


def dead_links(root):
    """Relative links in Markdown files that lead nowhere."""
    problems = []
    for path in tracked_files(root):
        if path.suffix != ".md":
            continue
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(errors="replace")):
            if "://" in link or link.startswith("mailto:"):
                continue
            if not (path.parent / link).exists():
                problems.append(f"{path.relative_to(root)}: link to {link} leads nowhere")
    return problems


class Tidy(unittest.TestCase):
    def check(self, rule):
        problems = rule(ROOT)
        self.assertEqual(problems, [], "\n" + "\n".join(problems))

    def test_includes_follow_the_table_of_arrows(self):
        self.check(wrong_arrows)

    def test_kernels_include_only_kernel_headers(self):
        self.check(kernels_with_foreign_includes)

    def test_every_folder_has_a_readme(self):
        self.check(folders_without_readme)

    def test_no_banned_names(self):
        self.check(banned_names)

    def test_no_source_is_too_long(self):
        self.check(long_sources)

    def test_links_in_documents_lead_somewhere(self):
        self.check(dead_links)


class NegativeControls(unittest.TestCase):
    """Each rule finds its planted mistake in a small wrong tree, and nothing in a right one."""

    def tree(self, files):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        root = Path(self.dir.name)
        base = {"src/README.md": "```arrows\nkv -> engine_types\nsched -> kv\nbase -> -\nkernels -> -\n```\n"}
        for name, text in {**base, **files}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    def test_a_wrong_arrow_is_found(self):
        root = self.tree({"src/kv/pool.cc": '#include "stet/sched/scheduler.h"\n'})
        self.assertIn("kv -> sched", "".join(wrong_arrows(root)))

    def test_a_private_header_of_another_folder_is_found(self):
        root = self.tree({"src/sched/plan.cc": '#include "src/kv/pool.h"\n'})
        self.assertIn("private header", "".join(wrong_arrows(root)))

    def test_a_folder_outside_the_table_is_found(self):
        root = self.tree({"src/misc/util.cc": "\n"})
        self.assertIn("misc", "".join(wrong_arrows(root)))

    def test_right_arrows_pass(self):
        root = self.tree({"src/sched/plan.cc": '#include "stet/kv/cache.h"\n#include "stet/base/status.h"\n#include <vector>\n'})
        self.assertEqual(wrong_arrows(root), [])

    def test_a_library_in_a_kernel_is_found(self):
        root = self.tree({"kernels/gemm/x.cc": "#include <vector>\n#include <cstdint>\n"})
        self.assertEqual(len(kernels_with_foreign_includes(root)), 1)

    def test_a_missing_readme_is_found(self):
        root = self.tree({"src/kv/pool.cc": "\n"})
        self.assertEqual(len(folders_without_readme(root)), 1)

    def test_banned_names_are_found(self):
        root = self.tree({"src/kv/a.cc": "int x = std::rand();\n", "src/kv/b.cc": 'getenv("X");\n', "src/kv/c.cc": "static_assert(true);\n"})
        self.assertEqual(len(banned_names(root)), 2)

    def test_a_long_source_is_found(self):
        root = self.tree({"src/kv/a.cc": "\n" * 701})
        self.assertEqual(len(long_sources(root)), 1)

    def test_a_dead_link_is_found(self):
        root = self.tree({"README.md": "[x](no/such/file.md) [y](src/README.md) [z](https://example.org)"})
        self.assertEqual(len(dead_links(root)), 1)


if __name__ == "__main__":
    unittest.main()
