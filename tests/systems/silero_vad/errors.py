"""Table of the squared errors of Silero VAD's variants beside those that its port's authors published.

`python -m tests.systems.silero_vad.errors` prints it. The authors measured on a Mac, against their own package in half
precision, on noise and without states. So does the column "noise". The column "speech" is the distance from upstream
over the longest case, on the artifact's own states.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

import milrun
from converters.silero_vad import SYSTEM
from converters.silero_vad.stages import coarse
from parity.base.libraries import threads
from parity.build.artifacts import Built
from parity.plan.weights import OPTION
from parity.record.suite import Options, Suite
from parity.run import stepping
from references.silero_vad.sizes import CHUNK, CONTEXT, WIDTH

PUBLISHED = {
    "fp16-mixed": 3.9e-6,
    "fp16-pal8": 8.0e-6,
    "fp16-int8": 2.0e-5,
    "fp16-pal6": 7.9e-5,
    "fp16-pal4": 8.8e-3,
    "fp16-pal2": 7.4e-2,
}
"""Mean squared error of the authors' graph of one step, in their order."""
DRAWS, TAKEN = 200, 20
"""Draws of noise here, and those that the authors took."""
STAGE = SYSTEM.stage("unified")


@dataclass(frozen=True)
class Row:
    """Errors of one variant.

    Attributes:
        variant: Name of the variant.
        published: The authors' error, if they published one.
        noise: Mean squared distance from the package in half precision, as the authors measure.
        least: Smallest of the means over as many draws as the authors took.
        most: Largest of these means.
        speech: Mean squared distance from upstream over speech, on own states.
        worst: Largest distance from upstream.
        turned: Steps that come out on the other side of the threshold.
        steps: Steps in all.
    """

    variant: str
    published: float | None
    noise: float
    least: float
    most: float
    speech: float
    worst: float
    turned: int
    steps: int


def rows(suite: Suite, case: str = "long", draws: int = DRAWS) -> Iterator[Row]:
    """Yield a row for each variant, the coarse ones included."""
    bench = suite.bench(SYSTEM.name, suite.options.numerics[0])
    built = Built(SYSTEM, bench.weights, suite.cache)
    golden = bench.goldens.load(SYSTEM.reference.case(case))[STAGE.name]
    truth = golden.outputs["vad_output"].reshape(-1)
    heard = [crossing.inputs["audio_input"] for crossing in stepping.crossings(STAGE, golden)]
    noise = np.random.default_rng(0).standard_normal((draws, 1, CONTEXT + CHUNK)).astype(np.float32)
    plain = on_noise(milrun.load(str(built.get(STAGE, STAGE.shipping).package)), noise)
    for variant in (*STAGE.variants, *coarse("unified")):
        model = milrun.load(str(built.get(replace(STAGE, variants=(*STAGE.variants, variant)), variant).package))
        apart, errors = on_speech(model, heard) - truth, (on_noise(model, noise) - plain) ** 2
        means = errors.reshape(-1, TAKEN).mean(1)
        yield Row(
            variant.name,
            PUBLISHED.get(variant.name),
            float(errors.mean()),
            float(means.min()),
            float(means.max()),
            float(np.mean(apart**2)),
            float(np.abs(apart).max()),
            int(((truth + apart >= 0.5) != (truth >= 0.5)).sum()),
            len(truth),
        )


def on_noise(model: milrun.Model, noise: np.ndarray) -> np.ndarray:
    """Return the probability of each draw, from empty states."""
    return np.array([stepped(model, draw, *empty())[0] for draw in noise])


def on_speech(model: milrun.Model, heard: Sequence[np.ndarray]) -> np.ndarray:
    """Return the probability at each step of a recording, on the model's own states."""
    states, found = empty(), []
    for samples in heard:
        probability, *states = stepped(model, samples, *states)
        found.append(probability)
    return np.array(found)


def stepped(model: milrun.Model, samples: np.ndarray, hidden: np.ndarray, cell: np.ndarray) -> list[np.ndarray]:
    given = {"audio_input": samples, "hidden_state": hidden, "cell_state": cell}
    made = model.predict(given)
    return [made["vad_output"].item(), made["new_hidden_state"], made["new_cell_state"]]


def empty() -> list[np.ndarray]:
    return [np.zeros((1, WIDTH), np.float32), np.zeros((1, WIDTH), np.float32)]


def table(found: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| variant | published | noise | 20 draws of it | speech | worst step | turned |", "|" + " --- |" * 7]
    for row in found:
        known = f"{row.published:.1e}" if row.published else ""
        values = [
            row.variant,
            known,
            f"{row.noise:.1e}",
            f"{row.least:.0e} to {row.most:.0e}",
            f"{row.speech:.1e}",
            f"{row.worst:.3f}",
        ]
        lines.append(f"| {' | '.join(values)} | {row.turned} of {row.steps} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.systems.silero_vad.errors", description=__doc__)
    parser.add_argument("--weights", **OPTION)
    with threads(1):
        print(table(list(rows(Suite(Options(cases="all", weights=parser.parse_args(arguments).weights), "errors")))))


if __name__ == "__main__":
    main()
