"""Choice of the recognizer and the speaker encoder: by name, or a factory of yours as `module:function`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from parity.speech import ecapa
from parity.speech.recognizer import Recognizer
from parity.speech.sound import SpeechError
from parity.speech.speaker import SpeakerEncoder
from parity.speech.sphinx import Sphinx
from parity.speech.whisper import Whisper

AUTO = "auto"
RECOGNIZERS: Mapping[str, Callable[[], Recognizer]] = {"pocketsphinx": Sphinx, "whisper": Whisper}
ENCODERS: Mapping[str, Callable[[], SpeakerEncoder]] = {"seeded": ecapa.seeded, "hub": ecapa.published}


def recognizer(option: str, weights: str) -> Recognizer:
    """Return the recognizer of an option. `auto` is the published one if the systems' weights come from the hub too."""
    chosen = ("whisper" if weights == "hub" else "pocketsphinx") if option == AUTO else option
    found: Recognizer = _made("--recognizer", chosen, RECOGNIZERS, "transcribe")
    return found


def encoder(option: str, weights: str) -> SpeakerEncoder:
    chosen = ("hub" if weights == "hub" else "seeded") if option == AUTO else option
    found: SpeakerEncoder = _made("--speaker", chosen, ENCODERS, "embed")
    return found


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
