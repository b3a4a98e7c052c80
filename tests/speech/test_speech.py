"""Whether what ships still says the words, in the voice, as far as the metrics can tell it from noise of their own."""

import pytest

from parity.speech.session import Speaker, Speech

pytestmark = pytest.mark.speech


def test_what_is_said_is_upstreams(speaker: Speaker, speech: Speech) -> None:
    heard = speech.judge(speaker)
    assert heard.passed, heard.explain()
