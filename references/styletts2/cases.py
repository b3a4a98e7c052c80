"""The passages, phonemized once with espeak-ng and kept as text, and the noise that each is spoken with."""

from __future__ import annotations

import numpy as np

from parity.declarations import Case
from references import seeding

STYLE = 128
STEPS = 5
"""Noise levels of the sampler."""
HARMONICS = 9

PASSAGES = {
    "yes": ("Yes.", "jˈɛs.", True),
    "hello": ("Hello there.", "həlˈoʊ ðˈɛɹ.", False),
    "morning": ("Good morning.", "ɡˈʊd mˈɔːɹnɪŋ.", False),
    "thanks": ("No, thank you.", "nˈoʊ, θˈæŋk juː.", False),
    "train": ("Where is the train to the harbour?", "wˌɛɹ ɪz ðə tɹˈeɪn tə ðə hˈɑːɹbɚ?", True),
    "boat": (
        "The harbour was quiet when the first boat came in, and nobody spoke.",
        "ðə hˈɑːɹbɚ wʌz kwˈaɪət wɛn ðə fˈɜːst bˈoʊt kˈeɪm ˈɪn, ænd nˈoʊbɑːdi spˈoʊk.",
        False,
    ),
    "fog": (
        "Three days later the fog lifted, and the crew could see the white cliffs, the lighthouse above the bay and a "
        "row of small houses along the shore, exactly as the old captain had described them.",
        "θɹˈiː dˈeɪz lˈeɪɾɚ ðə fˈɑːɡ lˈɪftᵻd, ænd ðə kɹˈuː kʊd sˈiː ðə wˈaɪt klˈɪfs, ðə lˈaɪthaʊs əbˌʌv ðə bˈeɪ ænd ɐ "
        "ɹˈoʊ ʌv smˈɔːl hˈaʊzᵻz ɐlˈɔŋ ðə ʃˈoːɹ, ɛɡzˈæktli æz ðɪ ˈoʊld kˈæptɪn hæd dᵻskɹˈaɪbd ðˌɛm.",
        False,
    ),
}
"""Words, phonemes, and whether the passage runs by default: one in the bucket of 32 tokens, one just above it. The last
one takes the bucket of 256 tokens."""

_PUNCTUATION = ';:,.!?¡¿—…"«»“” '
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_IPA = "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘'̩'ᵻ"
VOCABULARY = {symbol: number for number, symbol in enumerate(f"${_PUNCTUATION}{_LETTERS}{_IPA}")}
"""Upstream's numbers of the symbols. One that is there twice has the later number, as upstream's own table has."""


def tokens(phonemes: str) -> np.ndarray:
    """The numbers of the phonemes behind a first 0, (1, tokens)."""
    return np.array([[0, *(VOCABULARY[symbol] for symbol in phonemes)]], np.int32)


def cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            name,
            {"tokens": tokens(phonemes), "noise": seeding.normal(f"styletts2/{name}/noise", STEPS, 2 * STYLE)},
            short=short,
            about=words,
        )
        for name, (words, phonemes, short) in PASSAGES.items()
    )


def source_noise(case: Case, samples: int) -> np.ndarray:
    """The noise in the harmonic source, (1, samples, harmonics). A longer one begins with the shorter."""
    return seeding.normal(f"styletts2/{case.name}/source", 1, samples, HARMONICS)
