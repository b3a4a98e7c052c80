"""Problems of a run in the JUnit XML that pytest wrote, whose tests do not tell what was skipped or removed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from parity.base.files import write_atomically
from parity.base.text import plain


def add(path: Path, name: str, problems: Sequence[str]) -> None:
    """Add a suite with a failed test for each problem to a file, which is made where there is none.

    Args:
        path: The file.
        name: The name of the suite.
        problems: What is wrong, a line each.
    """
    if not problems:
        return
    root = ElementTree.parse(path).getroot() if path.exists() else ElementTree.Element("testsuites")
    count = str(len(problems))
    suite = ElementTree.SubElement(root, "testsuite", name=name, tests=count, failures=count, errors="0", skipped="0")
    for problem in map(plain, problems):
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=problem.partition(": ")[0])
        ElementTree.SubElement(case, "failure", message=problem).text = problem
    write_atomically(path, ElementTree.tostring(root, "utf-8", xml_declaration=True))
