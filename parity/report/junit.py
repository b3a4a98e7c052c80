"""The report as JUnit XML, for whatever shows test results."""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from parity.record.run import RunRecord, first_fault
from parity.report.summary import headline
from parity.report.terminal import explain
from parity.verdict import Verdict

# XML 1.0 has no place for these, escaped or not.
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(record: RunRecord) -> str:
    """A suite per system, a test case per verdict; what raised is an error, what never came is a failure."""
    root = Element("testsuites", {"name": "parity"})
    suites: dict[str, Element] = {}
    for verdict in record.verdicts:
        _verdict(_suite(root, suites, record, verdict.check.system), verdict)
    for error in record.errors:
        case = _case(_suite(root, suites, record, "no verdict"), "no verdict", error.id)
        SubElement(case, "error", {"type": "raised", "message": _clean(error.message)}).text = _clean(error.message)
    for check, why in record.missing.items():
        case = _case(_suite(root, suites, record, "no verdict"), "no verdict", check.id)
        SubElement(case, "failure", {"type": "missing", "message": _clean(f"expected, but {why}")})
    for skip in record.skipped:
        if skip.id not in {check.id for check in record.missing}:
            case = _case(_suite(root, suites, record, "skipped"), "skipped", skip.id)
            SubElement(case, "skipped", {"message": _clean(skip.reason)})
    if not record.verdicts:
        case = _case(_suite(root, suites, record, "no verdict"), "no verdict", "the run")
        SubElement(case, "failure", {"type": "missing", "message": "nothing was judged: the run has no verdict at all"})
    _count(root, record)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, suites: dict[str, Element], record: RunRecord, name: str) -> Element:
    if name not in suites:
        suites[name] = SubElement(root, "testsuite", {"name": _clean(name), "timestamp": record.started.isoformat()})
        properties = SubElement(suites[name], "properties")
        facts = {"commit": record.commit, "runtime": record.runtime, "weights": record.weights, "run": record.id}
        for key, value in {**facts, "partial": str(record.partial).lower(), "verdict": headline(record)}.items():
            SubElement(properties, "property", {"name": key, "value": _clean(value)})
    return suites[name]


def _case(suite: Element, group: str, name: str, seconds: float = 0.0) -> Element:
    named = {"classname": _clean(group), "name": _clean(name), "time": f"{seconds:.3f}"}
    return SubElement(suite, "testcase", named)


def _verdict(suite: Element, verdict: Verdict) -> None:
    case = _case(suite, f"{verdict.check.system}.{verdict.check.stage}", verdict.id, verdict.seconds)
    if not verdict.passed:
        failure = SubElement(case, "failure", {"type": "gate", "message": _clean(first_fault(verdict))})
        failure.text = _clean(explain(verdict))


def _count(root: Element, record: RunRecord) -> None:
    for element in (root, *root.findall("testsuite")):
        cases = list(element.iter("testcase"))
        seconds = sum(float(case.get("time", "0")) for case in cases)
        element.set("tests", str(len(cases)))
        for attribute, child in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            element.set(attribute, str(sum(case.find(child) is not None for case in cases)))
        element.set("time", f"{record.seconds if element is root else seconds:.3f}")


def _clean(words: str) -> str:
    return FORBIDDEN.sub("�", words)
