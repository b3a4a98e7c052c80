"""The words of docstrings and messages: plain, and without the turns of phrase that writing rules forbid."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

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
        for text in (docstring or "", *described(getattr(node, "body", ()))):
            if QUESTION.match(text):
                yield text.partition("\n")[0]


def described(body: object) -> Iterator[str]:
    """Yield the strings that describe the names assigned right before them."""
    for before, node in pairwise(body if isinstance(body, list) else ()):
        if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(node, ast.Expr):
            value = node.value.value if isinstance(node.value, ast.Constant) else None
            if isinstance(value, str):
                yield value


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
    tree = ast.parse(
        'X = 1\n"""How many."""\n\n\ndef f():\n    """Whether it holds."""\n    raise ValueError("this is no file")\n'
    )
    assert list(questions(tree)) == ["How many.", "Whether it holds."]
    assert list(phrases(tree)) == ["this is no file"]
