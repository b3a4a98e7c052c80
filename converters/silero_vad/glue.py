"""Host code: hears a recording chunk by chunk, and says where speech begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from converters.silero_vad.stages import margin
from parity.declarations import HOST, Arrays, Case, Run
from references.silero_vad.sizes import CHUNK, CHUNKS, CONTEXT, RATE, SEGMENTS, THRESHOLD, WIDTH

RELEASE = THRESHOLD - 0.15
"""Once in speech, a probability below this ends it."""
SHORTEST_SPEECH, SHORTEST_PAUSE, PADDING = RATE // 4, RATE // 10, 3 * RATE // 100
"""In samples: 250 ms, 100 ms, and 30 ms on either side."""


@dataclass(frozen=True)
class Glue:
    """Listens to a case by all three ways: the parts, step after step, and eight steps at once."""

    threshold: float = THRESHOLD

    def __call__(self, run: Run, case: Case) -> None:
        audio = case.inputs["audio"]
        self.by_parts(run, audio)
        probabilities = self.by_steps(run, audio)
        self.by_windows(run, audio)
        run.decide(HOST, "segments", table(self.segments(probabilities, len(audio))))

    def by_parts(self, run: Run, audio: np.ndarray) -> None:
        states = self.started()
        for heard in self.heard(audio):
            spectrum = run("stft", {"audio_input": heard})
            encoded = run("encoder", spectrum)
            found = run("decoder", {**encoded, **states})
            states = self.carried(run, "decoder", found, states)

    def by_steps(self, run: Run, audio: np.ndarray) -> list[float]:
        probabilities, states = [], self.started()
        for heard in self.heard(audio):
            found = run("unified", {"audio_input": heard, **states})
            states = self.carried(run, "unified", found, states)
            probabilities.append(float(found["vad_output"].item()))
        return probabilities

    def by_windows(self, run: Run, audio: np.ndarray) -> None:
        states = self.started()
        for heard in self.windows(audio):
            found = run("unified_256ms", {"audio_input": heard, **states})
            states = self.carried(run, "unified_256ms", found, states)

    def heard(self, audio: np.ndarray) -> list[np.ndarray]:
        """Return the chunks, each behind the last samples of the one before; the last one is filled up with zeros."""
        padded = np.pad(audio, (CONTEXT, -len(audio) % CHUNK))
        return [padded[None, first : first + CONTEXT + CHUNK] for first in range(0, len(audio), CHUNK)]

    def windows(self, audio: np.ndarray) -> list[np.ndarray]:
        """Return eight chunks at a time. What is left behind the last window is for the smaller graph."""
        chunks = self.heard(audio)
        return [
            np.concatenate([chunks[first], *(chunk[:, CONTEXT:] for chunk in chunks[first + 1 : first + CHUNKS])], 1)
            for first in range(0, len(chunks) - CHUNKS + 1, CHUNKS)
        ]

    def started(self) -> Arrays:
        return {name: np.zeros((1, WIDTH), np.float32) for name in ("hidden_state", "cell_state")}

    def carried(self, run: Run, stage: str, found: Arrays, states: Arrays) -> Arrays:
        """Return the states for the next step, and have the probability decided."""
        if found:  # unexercised: a stage that nothing goes on with is left out only where the chain runs freely
            run.decide(stage, "margin", margin(found)["margin"])
        return {name: found.get(f"new_{name}", states[name]) for name in states}

    def segments(self, probabilities: Sequence[float], samples: int) -> list[tuple[int, int]]:
        """Return the stretches of speech, first and last sample, by upstream's rules."""
        return padded(self.stretches(probabilities, samples), samples)

    def stretches(self, probabilities: Sequence[float], samples: int) -> list[tuple[int, int]]:
        """Speech begins at the threshold; it ends where the probability stays below the release for long enough."""
        found: list[tuple[int, int]] = []
        begin = pause = -1
        for step, probability in enumerate(probabilities):
            at = step * CHUNK
            if probability >= self.threshold:
                begin, pause = (at, -1) if begin < 0 else (begin, -1)
            elif begin >= 0 and probability < RELEASE:
                pause = at if pause < 0 else pause
                if at - pause >= SHORTEST_PAUSE:
                    found.append((begin, pause))
                    begin = pause = -1
        if begin >= 0:
            found.append((begin, samples))
        return [(first, last) for first, last in found if last - first > SHORTEST_SPEECH]


def padded(stretches: Sequence[tuple[int, int]], samples: int) -> list[tuple[int, int]]:
    """Widen each stretch; where the pause is too short for that, each takes half of it."""
    edges = [list(stretch) for stretch in stretches]
    for this, following in pairwise(edges):
        gap = following[0] - this[1]
        room = gap // 2 if gap < 2 * PADDING else PADDING  # unexercised: no pause is as short, the rule is upstream's
        this[1], following[0] = this[1] + room, following[0] - room
    if edges:
        edges[0][0] = max(0, edges[0][0] - PADDING)  # unexercised: no short case begins with speech
        edges[-1][1] = min(samples, edges[-1][1] + PADDING)
    return [(first, last) for first, last in edges]


def table(stretches: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the stretches as rows, with -1 behind them, as many as a golden has room for."""
    rows = np.full((SEGMENTS, 2), -1, np.int32)
    rows[: len(stretches)] = np.array(stretches[:SEGMENTS], np.int32).reshape(-1, 2)
    return rows


listen = Glue()
