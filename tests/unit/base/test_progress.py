"""Progress is told in a terminal and in a log."""

from __future__ import annotations

import io

from parity.base.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line_rewritten_and_cleared() -> None:
    stream = Terminal()
    with Progress(3, "checks", stream=stream) as progress:
        progress.step("kokoro · vocoder\n\x1b[31m" + "x" * 500)
        progress.refresh()
    said = stream.getvalue()
    assert "checks [1/3] 00:00, about 00:00 left, kokoro · vocoder" in said
    assert "\n" not in said
    assert "\x1b[31m" not in said


def test_progress_elsewhere_is_a_plain_line_now_and_then() -> None:
    stream = io.StringIO()
    with Progress(100, "checks", every=3600, stream=stream) as progress:
        for _ in range(100):
            progress.step("kokoro")
    first, last = stream.getvalue().splitlines()
    assert first == "checks [0/100] 00:00"
    assert last.startswith("checks [100/100] 00:0")
    assert "\r" not in stream.getvalue()
