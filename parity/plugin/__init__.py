"""The pytest plugin.

In a project without `[tool.parity]` it does nothing. In another it imports nothing heavy before a run that selects
checks: `pytest tests/test_mine.py` stays as fast as it was.
"""

from __future__ import annotations

import argparse
import gc
import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.expression import Expression

from parity.base import paths
from parity.base.files import StateError
from parity.base.paths import Project, ProjectError
from parity.plugin.names import FILES, MARKS, PARITY

OPTIONS: dict[str, dict[str, Any]] = {
    "runtime": {"choices": ("auto", "coreml", "milrun", "executorch"), "default": "auto", "help": "the runtime"},
    "numerics": {
        "default": "declared",
        "metavar": "NAME[,NAME]",
        "help": "how milrun computes: fp32, declared (the default) or ane; several, with commas between",
    },
    "weights": {
        "default": "auto",
        "help": "trained, seeded, hub, or the path of a checkpoint; auto (the default) takes trained ones where they "
        "are installed, or else seeded ones",
    },
    "artifacts": {"default": "", "metavar": "DIR", "help": "check the packages in DIR instead of converting"},
    "cases": {"choices": ("short", "all"), "default": "short", "help": "the cases to run"},
    "compute-units": {
        "choices": ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"),
        "help": "load every artifact on these, instead of those that it declares",
    },
    # The gate before a merge names its run, so that it reads the record of that run and of no other.
    "run-id": {"default": "", "help": argparse.SUPPRESS},
    "quick": {"action": "store_true", "help": "bench in a few rounds, and judge by ratios to eager"},
    "bench-record": {"action": "store_true", "help": "make this run the baseline of this machine"},
    "bench-reason": {"default": "", "help": "why a baseline that is there already changes"},
    "recognizer": {
        "default": "auto",
        "metavar": "NAME",
        "help": "hears the words: pocketsphinx, whisper, or module:function of yours; auto (the default) is "
        "whisper where `make extra-ears` installed it",
    },
    "speaker": {
        "default": "auto",
        "metavar": "NAME",
        "help": "embeds the voice: ge2e, seeded, or module:function of yours; auto (the default) takes ge2e where it "
        "is installed and the weights speak, and seeded beside it",
    },
}
"""Every option by its name without the prefix `--parity-`. In `config.option` it is `parity_…`."""

HASTENED = pytest.StashKey[bool]()
"""True where what is imported is left out of the search for garbage."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity", "parity of Core ML artifacts with the PyTorch models they were made from")
    for name, described in OPTIONS.items():
        group.addoption(f"--parity-{name}", dest=_dest(name), **described)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> None:
    """Add the short forms, such as `--runtime`, in projects with systems, where no other plugin has taken the name."""
    if _project(early_config) is None:
        return
    groups = (parser._anonymous, *parser._groups)
    taken = {name for group in groups for option in group.options for name in option.names()}
    group = parser.getgroup("parity")
    for name, described in OPTIONS.items():
        if f"--{name}" not in taken:
            group.addoption(f"--{name}", dest=_dest(name), **{**described, "help": argparse.SUPPRESS})


def pytest_configure(config: pytest.Config) -> None:
    project = _project(config)
    if project is None:
        return
    stack = ExitStack()
    stack.enter_context(paths.using(project))
    config.add_cleanup(stack.close)
    for mark, about in MARKS.items():
        config.addinivalue_line("markers", f"{mark}: {about}")
    expression = str(config.option.markexpr).strip()
    if suites := [mark for mark in MARKS if _selects(expression, mark)]:
        _select_systems(config, project, suites, only=expression in MARKS)
    if expression in MARKS:  # a run of ours alone: what upstream packages warn of is no business of the user's
        for line in ("ignore", *(f"default:::{package}" for package in ("parity", "milrun"))):
            config.addinivalue_line("filterwarnings", line)
        if config.args_source is not config.ArgsSource.ARGS:
            _hasten(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import the systems first: pytest rewrites the assertions of files that its arguments name."""
    for module in session.config.stash.get(FILES, {}).values():
        with suppress(Exception):  # collecting the file imports it again, and reports the error
            importlib.import_module(module)


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    nothing = exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and "deselected" not in terminalreporter.stats
    if nothing and FILES not in config.stash and _project(config):
        terminalreporter.write_line(
            "The files that [tool.parity] names in `systems` have the checks and benchmarks: run pytest without a "
            "path, or with theirs, and with -m parity, -m bench or -m speech"
        )


@contextmanager
def _exiting() -> Iterator[None]:
    """End the run with the message alone where the disk is full, or `.parity` can't be written to."""
    try:
        yield
    except StateError as error:
        pytest.exit(str(error.strerror), returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionstart() -> Iterator[None]:
    with _exiting():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> Iterator[None]:
    if session.config.stash.get(HASTENED, False):
        gc.freeze()
        gc.enable()
    with _exiting():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    try:
        with _exiting():
            return (yield)
    finally:
        if session.config.stash.get(HASTENED, False):
            gc.freeze()  # pytest looks for garbage at the end, and the process ends anyway


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a file that declares systems, unless pytest asks `pytest_pycollect_makemodule` for it."""
    patterns = parent.config.getini("python_files")
    module = parent.session.isinitpath(file_path) or any(file_path.match(pattern) for pattern in patterns)
    return None if module else _system_file(file_path, parent)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> Any:
    return _system_file(module_path, parent)


def _hasten(config: pytest.Config) -> None:
    """Set up a run of nothing but our items, so that an unchanged run is over soon."""
    # Its summary imports all of hypothesis, which takes a second, and none of our items uses it.
    config.pluginmanager.unregister(name="hypothesispytest")
    # What torch and the systems are made of stays until the end, so nobody has to look for garbage in it. The process
    # that hands its tests to others collects none, and would not notice when it could go on.
    if gc.isenabled() and not config.pluginmanager.hasplugin("dsession"):
        config.stash[HASTENED] = True
        gc.disable()
        config.add_cleanup(gc.enable)


def _system_file(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if path not in parent.config.stash.get(FILES, {}):
        return None
    from parity.plugin.items import SystemFile  # imports torch

    return SystemFile.from_parent(parent, path=path)


def _select_systems(config: pytest.Config, project: Project, suites: list[str], only: bool) -> None:
    """Have pytest collect the files that declare systems, and nothing else where only items of ours are selected.

    Where the command line names files, it names those of the systems as well.
    """
    from parity.plan.systems import modules  # imports numpy

    try:
        files = {path.resolve(): name for name, path in modules(project).items()}
    except ProjectError as error:
        raise pytest.UsageError(str(error)) from error
    if config.args_source is config.ArgsSource.ARGS:
        folder = config.invocation_params.dir
        arguments = [(folder / argument.partition("::")[0]).resolve() for argument in config.args]
        if not any(path.is_relative_to(argument) for path in files for argument in arguments):
            return
    elif not files:
        if only:
            raise pytest.UsageError(
                f"there is nothing to judge: {', '.join(project.systems)} in {project.root} declares no system"
            )
        return
    else:
        known = [] if only else config.args
        config.args = [*known, *(str(path) for path in files if not any(map(path.is_relative_to, known)))]
    config.stash[FILES] = files
    for suite in suites:
        config.pluginmanager.import_plugin(f"parity.plugin.{'checks' if suite == PARITY else suite}")


def _selects(expression: str, mark: str) -> bool:
    """Return whether `-m` with this expression selects items of this mark; without one, it selects the checks alone.

    The bench wants the machine to itself, and the speech metrics load large models: `-m` has to ask for them, which
    `-m "not slow"` does not.
    """
    if not expression:
        return mark == PARITY
    try:
        evaluate = Expression.compile(expression).evaluate
        return evaluate(lambda name, /, **_: name == mark) and (
            mark == PARITY or not evaluate(lambda name, /, **_: False)
        )
    except SyntaxError:
        return False  # pytest reports it


def _project(config: pytest.Config) -> Project | None:
    """Return the project at pytest's root, or the nearest one between there and the folder of the invocation."""
    try:
        found = paths.read(config.rootpath) or paths.find(config.invocation_params.dir)
    except ProjectError as error:
        raise pytest.UsageError(str(error)) from error
    return found if found and found.root.is_relative_to(config.rootpath) else None


def _dest(name: str) -> str:
    return f"parity_{name.replace('-', '_')}"
