"""Checks that a run leaves out: those that its command line selects away, and those that something else removed."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Iterable, Sequence

import pytest
from _pytest.mark import KeywordMatcher, MarkMatcher
from _pytest.mark.expression import Expression

ARGUMENTS = "parity_arguments"
"""The command line of the run, as workers of pytest-xdist are told it."""
_OPTIONS = {
    "keyword": "-k",
    "markexpr": "-m",
    "deselect": "--deselect",
    "ignore": "--ignore",
    "ignore_glob": "--ignore-glob",
    "lf": "--last-failed",
    "stepwise": "--stepwise",
    "collectonly": "--collect-only",
    "file_or_dir": "the path",
}
"""The options by which pytest leaves tests out."""
_LAST_WINS = ("keyword", "markexpr")


def arguments(config: pytest.Config) -> list[str]:
    """Return the command line alone, without what configuration and environment add to it."""
    given: Iterable[object] = getattr(config, "workerinput", {}).get(ARGUMENTS, config.invocation_params.args)
    return [str(argument) for argument in given]


def asked(config: pytest.Config, left_out: Sequence[pytest.Item]) -> list[str]:
    """Return the names of those items that the command line's own options leave out."""
    own = _parsed(config, arguments(config))
    if getattr(own, "lf", False) or getattr(own, "stepwise", False):  # missing with -p no:cacheprovider
        return [item.name for item in left_out]
    return [item.name for item in left_out if not _selects(own, item)]


def files_asked(config: pytest.Config) -> bool:
    """Return whether the command line itself says which files are collected."""
    own = _parsed(config, arguments(config))
    return bool(own.file_or_dir or own.ignore or own.ignore_glob)


def elsewhere(config: pytest.Config, *only: str) -> str:
    """Return the options beside the command line's that leave tests out, and where they stand; empty for none.

    `only` names the destinations of the options to look for; all by default.
    """
    own, said = _parsed(config, arguments(config)), []
    for source, given in (
        ("PYTEST_ADDOPTS", shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))),
        (f"addopts of {config.inipath.name if config.inipath else 'the configuration'}", config.getini("addopts")),
    ):
        found = _parsed(config, given)
        for name in only or _OPTIONS:
            value = getattr(found, name, None)
            if value and not (name in _LAST_WINS and getattr(own, name)):
                values = [] if value is True else [value] if isinstance(value, str) else list(value)
                said.append(f"{' '.join([_OPTIONS[name], *map(shlex.quote, values)])} in {source}")
    return ", ".join(said)


def _selects(own: Namespace, item: pytest.Item) -> bool:
    keyword, mark = own.keyword.strip(), own.markexpr.strip()
    return (
        (not keyword or Expression.compile(keyword).evaluate(KeywordMatcher.from_item(item)))
        and (not mark or Expression.compile(mark).evaluate(MarkMatcher.from_markers(item.iter_markers())))
        and not item.nodeid.startswith(tuple(own.deselect or ()))
    )


def _parsed(config: pytest.Config, given: Sequence[str]) -> Namespace:
    return config._parser.parse_known_args(list(given))
