"""Host code: the prompt, the choice of each code, the sum of each frame's embeddings, the chunks of audio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from converters.qwen3_tts.sampling import Sampling
from parity.declarations import HOST, Arrays, Case, Run
from references.qwen3_tts import sizes
from references.qwen3_tts.record import PROMPT
from references.qwen3_tts.sizes import FRAME, GROUPS, Size

ROLE = (sizes.IM_START, sizes.ASSISTANT, sizes.NEWLINE)
BEHIND = (sizes.IM_END, sizes.NEWLINE, *ROLE)
"""Markup behind the text. The talker hears none of it."""


def margin(outputs: Arrays) -> Arrays:
    """Return how far the score of EOS is above that of the best code."""
    scores = outputs["logits"].astype(np.float32)
    return {"eos_margin": scores[..., sizes.CODEC_EOS] - scores[..., : sizes.SUPPRESSED].max(-1)}


@dataclass(frozen=True)
class Glue:
    """Speaks a case."""

    size: Size

    def __call__(self, run: Run, case: Case) -> None:
        prompt, text = self.prompt(run, case)
        rows = prompt.shape[1]
        found = run("talker_prefill", {"embeds": self.padded(prompt), "valid": np.array([rows], np.int32)})
        codes = self.speak(run, case, found, text, rows)
        self.decode(run, codes)

    def prompt(self, run: Run, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the prompt, and those of the text that are added to later frames; the last is padding."""
        text = case.inputs["text"]
        tokens = np.concatenate([[ROLE], text, [BEHIND], [self.speech()]], 1).astype(np.int32)
        embeds = run("encode_text", {"tokens": tokens})["embeds"]
        first, behind = len(ROLE), len(ROLE) + text.shape[1]
        role, words = embeds[:, :first], embeds[:, first:behind]
        begin, end, pad = (embeds[:, -place, None] for place in (3, 2, 1))
        tags = np.concatenate([self.embedded(run, id, 0) for id in self.tags(case)], 1)
        silent = np.repeat(pad, tags.shape[1] - 2, 1)
        spoken = np.concatenate([silent, begin, words[:, :1]], 1) + tags
        return np.concatenate([role, spoken], 1), np.concatenate([words[:, 1:], end, pad], 1)

    def speech(self) -> tuple[int, ...]:
        return sizes.TTS_BOS, sizes.TTS_EOS, sizes.TTS_PAD

    def tags(self, case: Case) -> list[int]:
        """Return the codec's ids in the prompt: whether and in which language to think, then the beginning."""
        language = int(case.inputs["language"].item())
        think = [sizes.NOTHINK, sizes.THINK_BOS] if language < 0 else [sizes.THINK, sizes.THINK_BOS, language]
        return [*think, sizes.THINK_EOS, sizes.CODEC_PAD, sizes.CODEC_BOS]

    def padded(self, prompt: np.ndarray) -> np.ndarray:
        return np.pad(prompt, ((0, 0), (0, PROMPT - prompt.shape[1]), (0, 0)))

    def speak(self, run: Run, case: Case, found: Arrays, text: np.ndarray, position: int) -> np.ndarray:
        """Return the codes of each frame, up to EOS or the limit."""
        sampling, uniforms = self.sampling(case), case.inputs["uniforms"]
        caches = self.caches(found)
        predicted = self.started(self.size.predictor.layers, GROUPS, self.size.predictor.shared)
        frames: list[list[int]] = []
        for frame in range(int(case.inputs["limit"].item()) - 1):
            before = [codes[0] for codes in frames]
            token = self.decided(
                run, "tokens", sampling.token(self.scores(found), before, self.uniform(uniforms, frame, 0))
            )
            if token == sizes.CODEC_EOS:
                break
            codes, embed, predicted = self.frame(run, case, found["hidden"], token, uniforms[frame], predicted)
            frames.append(codes)
            self.fits(position)
            given = {"embeds": embed + self.word(text, frame), "position": np.array([position], np.int32)}
            found = run("talker", {**given, **caches})
            run.decide("talker", "eos_margin", margin(found)["eos_margin"])
            caches, position = self.caches(found), position + 1
        return np.array(frames, np.int32)

    def sampling(self, case: Case) -> Sampling:
        return Sampling(float(case.inputs["temperature"].item()))

    def uniform(self, uniforms: np.ndarray, frame: int, group: int) -> float:
        return float(uniforms[frame, group])

    def scores(self, found: Arrays) -> np.ndarray:
        return found["logits"].reshape(-1)

    def word(self, text: np.ndarray, frame: int) -> np.ndarray:
        """Return the row of the text for a frame; once the text is over, padding."""
        at = min(frame, text.shape[1] - 1)
        return text[:, at : at + 1]

    def frame(
        self, run: Run, case: Case, hidden: np.ndarray, token: int, uniforms: np.ndarray, caches: Arrays
    ) -> tuple[list[int], np.ndarray, Arrays]:
        """Return the codes of a frame, the sum of their embeddings, and the code predictor's caches."""
        embed = self.embedded(run, token, 0)
        given = {"temperature": case.inputs["temperature"], "uniforms": uniforms[1:]}
        run("cp_generate", {"hidden": hidden, "embed": embed, **given})
        caches = self.caches(self.predicted(run, hidden, 0, caches))
        codes, rows = [token], [embed]
        for group in range(1, GROUPS):
            found = self.predicted(run, rows[-1], group, caches)
            caches = self.caches(found)
            head = {"hidden": found["hidden"][:, 0], "group": np.array([group], np.int32)}
            scores = run("cp_head", head)["logits"].reshape(-1).astype(np.float32)
            code = self.sampling(case).code(scores, float(uniforms[group]))
            codes.append(self.decided(run, "codes", code))
            rows.append(self.embedded(run, codes[-1], group))
        return codes, np.concatenate(rows, 1).sum(1, keepdims=True, dtype=np.float32), caches

    def predicted(self, run: Run, row: np.ndarray, position: int, caches: Arrays) -> Arrays:
        return dict(run("code_predictor", {"embeds": row, "position": np.array([position], np.int32), **caches}))

    def embedded(self, run: Run, token: int, group: int) -> np.ndarray:
        self.knows(token, group)
        given = {"token": np.array([token], np.int32), "group": np.array([group], np.int32)}
        return np.asarray(run("codec_embed", given)["embed"])

    def decided(self, run: Run, name: str, id: int) -> int:
        return int(run.decide(HOST, name, np.array([id], np.int32)).item())

    def decode(self, run: Run, codes: np.ndarray) -> None:
        """Decode the first chunk in its own length, then all chunks, each filled up to the length of the stream."""
        for row in codes:
            for group, code in enumerate(row):
                self.knows(int(code), group)
        run("decode_audio", {"codes": codes[None, : self.size.chunk]})
        for chunk, context in self.chunks(codes):
            audio = run("decode_audio_stream", {"codes": self.filled_up(chunk)})["audio"].astype(np.float32)
            run.decide(HOST, "audio", audio[context * FRAME : len(chunk) * FRAME])

    def chunks(self, codes: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        """Yield the frames of each chunk behind those that are decoded again, and the number of the latter."""
        for start in range(0, len(codes), self.size.chunk):
            context = min(start, self.size.context)
            yield codes[start - context : start + self.size.chunk], context

    def filled_up(self, codes: np.ndarray) -> np.ndarray:
        return np.pad(codes, ((0, self.size.chunk + self.size.context - len(codes)), (0, 0)))[None]

    def knows(self, id: int, group: int) -> None:
        """Raise a ValueError for an id outside its codebook. Looked up all the same, it would be another code."""
        ids = sizes.CODES if group else sizes.VOCABULARY
        if not 0 <= id < ids:  # unexercised: upstream never gives such an id
            raise ValueError(f"id {id} is outside codebook {group}, which has {ids}")

    def fits(self, position: int) -> None:
        if position >= self.size.capacity:  # unexercised: the host refuses such a text, so no case is one
            raise ValueError(f"position {position} is past the {self.size.capacity} slots of the talker's caches")

    def caches(self, found: Arrays) -> Arrays:
        """Return the caches that a step hands to the next one."""
        return {name.removesuffix("_out"): value for name, value in found.items() if name.startswith("cache")}

    def started(self, layers: int, slots: int, heads: int) -> Arrays:
        shape = (2, 1, slots, heads, self.size.predictor.head)
        return {f"cache{layer}": np.zeros(shape, np.float32) for layer in range(layers)}
