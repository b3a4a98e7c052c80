"""A run record as a page and as Markdown, and its problems in pytest's JUnit XML. Only this room writes reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from parity.base.files import write_atomically
from parity.base.text import plain
from parity.bench import record as bench_record
from parity.record import run
from parity.record.run import Excerpt, RunRecord
from parity.report import html, markdown
from parity.report.summary import Evidence


def write(record: RunRecord, folder: Path, evidence: Evidence, history: Iterable[Excerpt] = ()) -> Path:
    """Write report.html, report.md and last run.json, so that a complete run has its reports; return the page."""
    page = folder / "report.html"
    folder.mkdir(parents=True, exist_ok=True)
    bench = bench_record.beside(folder)
    write_atomically(page, html.render(record, evidence, history, bench).encode())
    write_atomically(folder / "report.md", markdown.render(record, bench).encode())
    run.save(record, folder)
    return page


def add_to_junit(path: Path, name: str, problems: Sequence[str]) -> None:
    """Add a suite of this name, with a failed test for each problem, to a file of JUnit XML.

    The file is made if it is not there. The tests that pytest wrote there do not tell what was skipped or removed.
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
