"""The house rules that a machine can check: file and function sizes, banned names, no second clock."""

import ast
import re
from pathlib import Path

from tests.support.rows import each

ROOT = Path(__file__).parent.parent
PRODUCT = sorted(p for d in ("edge", "hub", "shared", "firmware_bridge") for p in (ROOT / d).rglob("*.py"))
KERNEL = sorted((ROOT / "shared").glob("*/*.p[yx][xd]"))
FILE_LINES_MAX, KERNEL_LINES_MAX, FUNCTION_LINES_MAX = 500, 700, 50
BANNED_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|manager)(_|$)")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


@each("path", PRODUCT, ids=_name)
def test_python_file(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= FILE_LINES_MAX
    assert not BANNED_NAMES.search(path.stem)
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a file opens with what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert _code_lines(node) <= FUNCTION_LINES_MAX, f"{node.name} is too long"
    if path.name != "clock.py":
        assert not re.search(r"\btime\.(time|monotonic)(_ns)?\(", text), "time is handed in (shared/clock.py)"


@each("path", KERNEL, ids=_name)
def test_kernel_file(path: Path) -> None:
    assert path.read_text().count("\n") <= KERNEL_LINES_MAX


def test_repository_speaks_of_phloem_alone() -> None:
    for path in PRODUCT + KERNEL:
        assert "/work/" not in path.read_text(), _name(path)


def test_tests_that_the_documents_name_are_there() -> None:
    """As ``docs/pain_points.md`` does: ``file::name``."""
    defined: dict[str, set[str]] = {}
    for document in (ROOT / "docs").glob("*.md"):
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text()):
            if file not in defined:
                defined[file] = set(re.findall(r"^ *(?:async )?def (\w+)", (ROOT / file).read_text(), re.M))
            assert name in defined[file], f"{document.name}: {file}::{name}"
    assert len(defined) > 20
