"""Choice of what hears: by name, or a factory of yours as `module:function`.

`auto` takes what is trained where its packages are installed (`make extra-ears`), or else what every machine has.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from parity.speech import ears
from parity.speech.basic_ears import Ecapa, Sphinx
from parity.speech.ears import Dnsmos, Ge2e, Whisper
from parity.speech.margins import Named
from parity.speech.metrics import Recognizer, SpeakerEncoder
from parity.speech.sound import SpeechError

AUTO = "auto"
RECOGNIZERS: Mapping[str, Callable[[], Recognizer]] = {"pocketsphinx": Sphinx, "whisper": Whisper}
ENCODERS: Mapping[str, Callable[[], SpeakerEncoder]] = {"seeded": Ecapa, "ge2e": Ge2e}


def recognizer(option: str) -> Recognizer:
    """Return the recognizer of an option."""
    chosen = ("whisper" if ears.WHISPER.installed else "pocketsphinx") if option == AUTO else option
    return _made("--recognizer", chosen, RECOGNIZERS, "transcribe")


def encoders(option: str, speaking: bool) -> dict[Named, SpeakerEncoder]:
    """Return the encoders of an option by what their likeness says.

    `auto` compares recordings with seeded weights, and voices with trained ones where the system speaks (`speaking`).
    """
    if option != AUTO:
        return {"voice": _made("--speaker", option, ENCODERS, "embed")}
    trained: dict[Named, SpeakerEncoder] = {"voice": Ge2e()} if speaking and ears.GE2E.installed else {}
    return {**trained, "recording": Ecapa()}


def listener() -> Dnsmos | None:
    """Return what marks the naturalness, None where its package is not installed."""
    return Dnsmos() if ears.DNSMOS.installed else None


def _made(option: str, chosen: str, known: Mapping[str, Callable[[], Any]], method: str) -> Any:
    found = (known[chosen] if chosen in known else _foreign(option, chosen, known))()
    lacking = [name for name in ("name", "about", method) if not hasattr(found, name)]
    if lacking:
        raise SpeechError(f"{option} {chosen} gave a {type(found).__name__} without {', '.join(lacking)}")
    return found


def _foreign(option: str, chosen: str, known: Mapping[str, Callable[[], Any]]) -> Callable[[], Any]:
    module, colon, name = chosen.partition(":")
    if not colon:
        near = difflib.get_close_matches(chosen, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}, or module:function"
        raise SpeechError(f"{option} {chosen}: nothing is called so; {hint}")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpeechError(f"{option} {chosen}: {error}; name a function that can be imported from here") from error
