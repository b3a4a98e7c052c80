"""Tests of what the command line hides of other packages."""

import logging
import sys
import warnings

import pytest

from parity.base.libraries import quiet


def said_within(capsys: pytest.CaptureFixture[str]) -> str:
    with quiet():
        warnings.warn_explicit("torch.old is deprecated", FutureWarning, "torch/nn.py", 1, module="torch.nn")
        warnings.warn_explicit("a damaged entry", UserWarning, "parity/base/cache.py", 1, module="parity.base.cache")
        logging.getLogger("nemo").warning("no exporters")
    return capsys.readouterr().err


def test_only_our_own_warnings_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "warnoptions", [])
    monkeypatch.setattr(warnings, "showwarning", lambda message, *rest: print(message, file=sys.stderr))
    with pytest.warns(UserWarning, match="a damaged entry") as seen:
        assert "exporters" not in said_within(capsys)
    assert len(seen) == 1


def test_everything_is_shown_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with pytest.warns(Warning, match="deprecated") as seen:
        said_within(capsys)
    assert len(seen) == 2
    assert logging.root.manager.disable == 0
