"""Reference and candidate to look at and to listen to, for each audio output whose evidence is kept."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from parity.compare.evidence import MediaError, Pair, Samples, read_audio
from parity.record.run import RunRecord
from parity.report import audio
from parity.report.markup import Markup, gallery, head_row, join, mark, tag
from parity.report.summary import Evidence, in_order, place
from parity.verdict import Verdict

BUDGET = 3_500_000
"""Bytes of pictures and sound in one page: the worst come first, the rest is named."""


@dataclass
class Clips:
    """The sounds of a page, each kept once: many candidates share a reference."""

    budget: int = BUDGET
    sounds: dict[str, str] = field(default_factory=dict)

    def keep(self, signal: Samples, rate: int) -> str:
        content = audio.wav(signal, rate)
        key = hashlib.sha256(content).hexdigest()[:20]
        if key not in self.sounds:
            self.sounds[key] = audio.data_uri(content, "audio/wav")
            self.budget -= len(self.sounds[key])
        return key


def listening(record: RunRecord, evidence: Evidence, clips: Clips) -> Markup:
    """Return a card per audio output, and what could not be shown."""
    note = (
        "A is what upstream computes, B is what the artifact computes. Levels are as they are: a gain can be heard. "
        "The keys a and b switch while it plays."
    )
    shown = _audio(record, evidence, clips)
    return gallery("Listen", note, "Without a picture", shown, lambda cards: clips.budget)


def _audio(
    record: RunRecord, evidence: Evidence, clips: Clips
) -> Iterator[tuple[Verdict, str, str | Callable[[bool], Markup]]]:
    """Yield each audio output, those of failed checks first, or why it cannot or need not be shown."""
    for verdict, folder in in_order(record, evidence):
        if folder is None:
            if not verdict.passed:
                yield verdict, "", "its evidence is no longer kept"
            continue
        try:
            for pair in read_audio(folder):
                alike = np.array_equal(pair.reference, pair.candidate)
                same = f"{pair.output} is the reference, sample by sample"
                yield verdict, pair.output, same if alike else partial(_card, verdict, pair, clips)
        except MediaError as error:
            yield verdict, "", str(error)


def _card(verdict: Verdict, pair: Pair, clips: Clips, opened: bool) -> Markup:
    check = verdict.check
    begin, part = audio.excerpt(pair)
    length = max(len(pair.reference), len(pair.candidate)) / pair.rate
    head = tag("h3", mark(verdict.passed), f"{check.system} · {check.stage} · {pair.output}")
    shown = [_transport(part, clips)]
    if len(part.reference) < len(pair.reference):
        last = begin + len(part.reference) / pair.rate
        shown.append(tag("p", f"To listen to: {begin:.1f} to {last:.1f} s, where the two differ most.", class_="note"))
    pictures = _pictures(pair)
    clips.budget -= len(pictures)
    return tag(
        "details",
        tag("summary", head, tag("span", place(check), class_="soft")),
        tag("div", *shown, pictures, numbers(pair), class_="sound"),
        class_="card listen",
        open=opened,
        data_player=True,
        data_from=f"{begin:.4f}",
        data_whole=f"{length:.4f}",
    )


def _transport(part: Pair, clips: Clips) -> Markup:
    return Markup(
        '<div class="row"><button type="button" class="play">▶ Play</button>'
        '<span class="switch" role="group" aria-label="Which one is heard">'
        '<button type="button" class="a" aria-pressed="true">A reference</button>'
        '<button type="button" class="b" aria-pressed="false">B candidate</button></span>'
        '<input type="range" min="0" max="1" step="any" value="0" aria-label="Position"><span class="clock">…</span>'
        '<audio preload="auto" data-voice="reference" data-clip="{}"></audio>'
        '<audio preload="auto" data-voice="candidate" data-clip="{}"></audio></div>'
    ).format(clips.keep(part.reference, part.rate), clips.keep(part.candidate, part.rate))


def _pictures(pair: Pair) -> Markup:
    images = audio.spectra(pair)
    marks = [tag("b", label, style=f"top:{100 * top:.1f}%") for label, top in audio.ticks(pair.rate)]

    def picture(name: str, title: str, legend: str) -> Markup:
        image = f'<img alt="" src="{audio.data_uri(images[name], "image/png")}">'
        plot = tag("div", Markup(image), *marks, tag("i", class_="head"), class_="plot")
        return tag("figure", tag("figcaption", tag("span", title), legend), plot)

    swatches = join(
        tag("span", tag("i", class_=f"swatch {name}"), name, " ") for name in ("reference", "candidate", "both")
    )
    wave = tag("div", Markup(audio.waveforms(pair)), tag("i", class_="head"), class_="plot wave-plot")
    level = [f"−{audio.SWING:g} dB", _gradient(audio.EITHER), f"+{audio.SWING:g} dB"]
    power = [f"−{audio.RANGE:g} dB", _gradient(audio.LOUDNESS), "0"]
    return tag(
        "div",
        tag("figure", tag("figcaption", swatches, class_="legend"), wave, class_="wide"),
        picture("reference", "A reference", tag("span", *power)),
        picture("candidate", "B candidate", tag("span", *power)),
        picture("level", "How much louder B is", tag("span", *level)),
        picture("error", "B less A: what was added or lost", tag("span", *power)),
        class_="plots",
    )


def _gradient(anchors: tuple[str, ...]) -> Markup:
    return tag("i", class_="scale", style=f"background:linear-gradient(90deg,{','.join(anchors)})")


def numbers(pair: Pair) -> Markup:
    """Return the numbers that a picture cannot show exactly."""
    rows = [head_row("", "Length", "Level (rms)", "Peak", "Clipped", "Not finite")]
    for name, signal in (("Reference", pair.reference), ("Candidate", pair.candidate)):
        size = np.abs(audio.finite_part(signal))
        levels = [audio.rms(signal), audio.decibels(float(size.max(initial=0.0)))]
        values = [
            f"{len(signal) / pair.rate:.3f} s ({len(signal)})",
            *(f"{_signed(level)} dB" if math.isfinite(level) else "silent" for level in levels),
            str(np.count_nonzero(size > 1)),
            str(np.count_nonzero(~np.isfinite(signal))),
        ]
        rows.append(tag("tr", tag("th", name, scope="row"), *(tag("td", value) for value in values)))
    below = audio.rms(audio.difference(pair)) - audio.rms(pair.reference)
    words = f"B is {_signed(audio.gain(pair))} dB against A; their difference is at {_signed(below)} dB against A."
    return join([tag("div", tag("table", *rows, class_="numbers plain"), class_="scroll"), tag("p", words)])


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")
