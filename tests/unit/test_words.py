"""The words of docstrings and messages: plain, and without the turns of phrase that writing rules forbid."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.support.rooms import PACKAGES, ROOT

QUESTION = re.compile(r"(What|How|Whether|Where|Who|Whom|Which|Under which|By how|Of which|In which)\b")
FORBIDDEN = re.compile(
    r"(?<![Tt]here )\b(is|are|was|were) no\b(?! (longer|more|other))|\bto the bit\b|\bbut for\b|\bso manieth\b"
)
AS_RECORDED = ("references/sortformer/archive.py", "references/sortformer/settings.py")
"""Their messages are a part of the code that goldens are recorded by."""

Node = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def trees() -> dict[str, ast.Module]:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    names = {path.relative_to(ROOT).as_posix(): path for path in paths}
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in names.items()}


def questions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        docstring = ast.get_docstring(node) if isinstance(node, Node) else None
        if docstring and QUESTION.match(docstring):
            yield docstring.partition("\n")[0]


def phrases(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (found := FORBIDDEN.search(node.value)):
            yield node.value[max(0, found.start() - 30) : found.end() + 30]


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    found = {name: wrong for name, tree in trees().items() if (wrong := list(questions(tree)))}
    assert found == {}


def test_messages_are_plain() -> None:
    found = {
        name: wrong for name, tree in trees().items() if name not in AS_RECORDED and (wrong := list(phrases(tree)))
    }
    assert found == {}, "write 'is not a', 'bit for bit', 'except'"


def test_a_question_and_a_forbidden_phrase_are_found() -> None:
    tree = ast.parse('def f():\n    """Whether it holds."""\n    raise ValueError("this is no file")\n')
    assert list(questions(tree)) == ["Whether it holds."]
    assert list(phrases(tree)) == ["this is no file"]
