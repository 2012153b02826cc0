#!/usr/bin/env python3
"""Checks the shape of the source tree; prints every breach and exits non-zero if there is one.

- A module of src/ includes only itself and what CMakeLists.txt lets it link, and the modules' table in
  docs/architecture.md names the same modules in an order in which none includes a later one.
- Headers start with #pragma once; unit tests sit beside the code; no file is over 800 lines; no unfinished marks.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = (".h", ".cc")
CHECKED = SOURCES + (".py", ".sh", ".cmake", ".yaml", ".md", ".txt")
FOLDERS = ("src", "tests", "benchmarks", "examples", "scripts", "cmake", "docs")
MAX_LINES = 800
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")


def module_closure():
    """{module: every module it may include}, in the order of CMakeLists.txt."""
    closure = {}
    text = (ROOT / "CMakeLists.txt").read_text()
    for name, deps in re.findall(r"^sluice_module\((\w+)(?: DEPS ([^)]*))?\)", text, re.M):
        allowed = {name}
        for dep in re.findall(r"\bsluice_(\w+)", deps):
            if dep not in closure:
                raise SystemExit(f"CMakeLists.txt: module {name} links {dep}, which does not stand above it")
            allowed |= closure[dep]
        closure[name] = allowed
    return closure


def check_includes(closure):
    for module in sorted(p.name for p in (ROOT / "src").iterdir() if p.is_dir()):
        files = [path for path in sorted((ROOT / "src" / module).rglob("*")) if path.suffix in SOURCES]
        if files and module not in closure:
            yield f"src/{module}: not declared by sluice_module in CMakeLists.txt"
            continue
        for path in files:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                include = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if not include:
                    continue
                place = f"{path.relative_to(ROOT)}:{number}"
                target = include.group(1)
                other = target.split("/")[0]
                if re.fullmatch(r"\w+\.(grpc\.)?pb\.h", target) and list((ROOT / "src" / module).rglob(target.split(".")[0] + ".proto")):
                    continue  # generated from the module's own messages
                if not (ROOT / "src" / target).is_file():
                    yield f'{place}: "{target}" is not a path from src/'
                elif other not in closure[module]:
                    yield f"{place}: {module} must not include {other} (docs/architecture.md)"


def check_architecture_page(closure):
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = [m for m in re.findall(r"^\| `(\w+)` \|", page, re.M)]
    if sorted(table) != sorted(closure):
        yield f"docs/architecture.md: modules {table} differ from CMakeLists.txt: {list(closure)}"
        return
    for position, module in enumerate(table):
        later = closure[module] & set(table[position + 1:])
        if later:
            yield f"docs/architecture.md: {module} stands above what it includes: {sorted(later)}"


def check_files():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in CHECKED or not path.is_file():
                continue
            name = path.relative_to(ROOT)
            lines = path.read_text().splitlines()
            if path.suffix == ".h" and "#pragma once" not in lines[:3]:
                yield f"{name}: a header starts with #pragma once"
            if path.name.endswith("_test.cc") and folder != "src":
                yield f"{name}: unit tests sit beside the code in src/"
            if len(lines) > MAX_LINES and path.suffix in SOURCES + (".py",):
                yield f"{name}: {len(lines)} lines; split it by idea (limit {MAX_LINES})"
            for number, line in enumerate(lines, 1):
                if UNFINISHED.search(line):
                    yield f"{name}:{number}: unfinished: {line.strip()}"


def main():
    closure = module_closure()
    breaches = [*check_includes(closure), *check_architecture_page(closure), *check_files()]
    for breach in breaches:
        print(breach)
    print(f"{len(closure)} modules checked, {len(breaches)} breaches")
    return 1 if breaches else 0


sys.exit(main())
