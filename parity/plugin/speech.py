"""The pytest side of the speech metrics: a test for each system that speaks, and the table."""

from __future__ import annotations

from typing import Any

import pytest

from parity.plan.systems import systems
from parity.plugin import skips
from parity.plugin.checks import build_missing
from parity.plugin.suite import suite_of
from parity.speech.session import Speaker, Speech, speaks
from parity.speech.table import table

SPEECH = pytest.StashKey[Speech]()
ERRORS = pytest.StashKey[dict[str, str]]()
SPEAKER = "speaker"
MARK = "speech"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if SPEAKER in metafunc.fixturenames and metafunc.definition.get_closest_marker(MARK):
        plan = speech_of(metafunc.config).plan()
        metafunc.parametrize(SPEAKER, plan, ids=[speaker.name for speaker in plan])


@pytest.fixture
def speech(pytestconfig: pytest.Config) -> Speech:
    if hasattr(pytestconfig, "workerinput"):
        pytest.fail("the speech metrics share their models and one table: leave out -n", pytrace=False)
    return speech_of(pytestconfig)


def pytest_collection_finish(session: pytest.Session) -> None:
    checks = [check for item in session.items if (speaker := _speaker(item)) for check in speaker.checks]
    if checks and not session.config.option.collectonly and not hasattr(session.config, "workerinput"):
        build_missing(session.config, checks)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Fail a skipped test, because nothing was heard; so does a run without a system that speaks."""
    report: pytest.TestReport = yield
    if item.get_closest_marker(MARK) is not None:
        why = skips.failed(report, item, call, so="nothing was listened to")
        speaker = _speaker(item)
        if why is not None and (speaker is None or speaker.name not in speech_of(item.config).heard):
            item.config.stash.setdefault(ERRORS, {})[item.name] = why
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    heard = config.stash[SPEECH].heard if SPEECH in config.stash else {}
    errors = config.stash.get(ERRORS, {})
    if heard or errors:
        terminalreporter.section("speech", "─")
        silent = [name for name, system in systems().items() if not speaks(system)]
        terminalreporter.write_line(table(list(heard.values()), silent, errors))


def speech_of(config: pytest.Config) -> Speech:
    if SPEECH not in config.stash:
        config.stash[SPEECH] = Speech(suite_of(config), config.option.parity_recognizer, config.option.parity_speaker)
    return config.stash[SPEECH]


def _speaker(item: pytest.Item) -> Speaker | None:
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    found = parameters.get(SPEAKER)
    return found if isinstance(found, Speaker) else None
