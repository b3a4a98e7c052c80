"""The pytest side of the speech metrics: a test for each system that speaks, and the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from parity.declarations import AUDIBLE, System
from parity.plan.systems import systems
from parity.plugin.items import NotPassedError, SystemItem, failed
from parity.plugin.names import ITEMS, SPEECH
from parity.plugin.suite import build_missing, suite_of
from parity.speech.session import Speaker, Speech, speaks, table

SESSION = pytest.StashKey[Speech]()
ERRORS = pytest.StashKey[dict[str, str]]()


class SpeakerItem(SystemItem):
    """One set of variants of a system that speaks."""

    mark = SPEECH

    def __init__(self, *, speaker: Speaker, **options: Any) -> None:
        super().__init__(**options)
        self.speaker = speaker

    def runtest(self) -> None:
        if hasattr(self.config, "workerinput"):
            pytest.fail("the speech metrics share their models and one table: leave out -n", pytrace=False)
        try:
            heard = speech_of(self.config).judge(self.speaker)
        except ModuleNotFoundError as error:
            raise NotPassedError(
                f"{error.name} is not installed: install coreml-parity with its extra `speech`"
            ) from error
        if not heard.passed:
            raise NotPassedError(heard.explain())


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(ITEMS, []).append(_items)


def _items(file: pytest.File, system: System) -> Iterator[pytest.Item]:
    for speaker in speech_of(file.config).plan():
        if speaker.system == system.name:
            yield SpeakerItem.from_parent(file, name=speaker.name, speaker=speaker)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Refuse a run in which no system speaks."""
    if not session.testsfailed and not any(isinstance(item, SpeakerItem) for item in items):
        raise pytest.UsageError(
            "there is nothing to listen to: none of the systems of this run has an output of kind "
            + " or ".join(f'"{kind}"' for kind in AUDIBLE)
        )


def pytest_collection_finish(session: pytest.Session) -> None:
    checks = [check for item in session.items if isinstance(item, SpeakerItem) for check in item.speaker.checks]
    if checks and not session.config.option.collectonly and not hasattr(session.config, "workerinput"):
        build_missing(session.config, checks)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Fail a skipped test, because nothing was heard; so does a run without a system that speaks."""
    report: pytest.TestReport = yield
    if isinstance(item, SpeakerItem):
        why = failed(report, item, call, so="nothing was listened to")
        if why is not None and item.name not in speech_of(item.config).heard:
            item.config.stash.setdefault(ERRORS, {})[item.name] = why
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    heard = config.stash[SESSION].heard if SESSION in config.stash else {}
    errors = config.stash.get(ERRORS, {})
    if heard or errors:
        terminalreporter.section("speech", "─")
        silent = [name for name, system in systems().items() if not speaks(system)]
        terminalreporter.write_line(table(list(heard.values()), silent, errors))


def speech_of(config: pytest.Config) -> Speech:
    if SESSION not in config.stash:
        config.stash[SESSION] = Speech(suite_of(config), config.option.parity_recognizer, config.option.parity_speaker)
    return config.stash[SESSION]
