"""Copies of the values that cross upstream's seams while it generates, in any of its threads."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from references.pocket_tts.sizes import LATENT

Array = np.ndarray


@dataclass
class Flow:
    """One call of the flow net: from s to t."""

    s: Array
    t: Array
    latent: Array
    velocity: Array


@dataclass
class Call:
    """One call of the flow LM. `rows` are the keys and values that it wrote, per layer, from `position` on."""

    conditioning: Array
    sequence: Array
    position: int
    rows: list[Array] = field(default_factory=list)
    condition: Array = field(default_factory=lambda: np.zeros(0))
    eos_logit: Array = field(default_factory=lambda: np.zeros(0))
    noise: Array = field(default_factory=lambda: np.zeros(0))
    flows: list[Flow] = field(default_factory=list)
    latent: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def length(self) -> int:
        return self.conditioning.shape[1] + self.sequence.shape[1]


@dataclass
class Frame:
    """One call of Mimi's decoder, with all of its states after it; of a cache, the rows that it wrote."""

    audio: Array
    position: int
    states: dict[str, Array]


class FedNoise(TorchFunctionMode):
    """Gives the upstream's draw the numbers of the case, scaled as it asks for."""

    def __init__(self, row: Array) -> None:
        super().__init__()
        self.row = torch.from_numpy(row)
        self.drawn: list[Array] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.init.normal_:
            given = dict(zip(("tensor", "mean", "std"), args, strict=False)) | kwargs
            given["tensor"].copy_(self.row * given["std"] + given["mean"])
            self.drawn.append(copied(given["tensor"]))
            return given["tensor"]
        return func(*args, **kwargs)


class Taps:
    """While entered, every call of the model is copied, and each generating one is fed the next row of the noise."""

    def __init__(self, model: Any, noise: Array) -> None:
        self.model, self.noise = model, noise
        self.calls: list[Call] = []
        self.frames: list[Frame] = []
        self._states = named_states(model.mimi)
        self._generated = 0
        self._fed = FedNoise(np.zeros((1, LATENT), np.float32))
        self._feeding = ExitStack()
        self._stack = ExitStack()

    def __enter__(self) -> Taps:
        flow_lm, mimi = self.model.flow_lm, self.model.mimi
        for handle in (
            flow_lm.register_forward_pre_hook(self._enters, with_kwargs=True),
            flow_lm.out_eos.register_forward_hook(self._reads),
            flow_lm.flow_net.register_forward_hook(self._flows),
            flow_lm.register_forward_hook(self._leaves, with_kwargs=True, always_call=True),
            mimi.decoder.register_forward_hook(self._decodes),
        ):
            self._stack.callback(handle.remove)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _enters(self, _: Any, args: Any, kwargs: Any) -> None:
        caches = attention_states(kwargs["model_state"])
        call = Call(copied(kwargs["text_embeddings"]), copied(kwargs["sequence"]), int(caches[0]["offset"]))
        self.calls.append(call)
        row = np.zeros((1, LATENT), np.float32)
        if call.sequence.size:
            row = self.noise[self._generated : self._generated + 1]
            self._generated += 1
        # A mode holds for one thread, and upstream generates in a thread of its own.
        self._fed = FedNoise(row)
        self._feeding.enter_context(self._fed)

    def _reads(self, _: Any, args: Any, output: torch.Tensor) -> None:
        self.calls[-1].condition, self.calls[-1].eos_logit = copied(args[0]), copied(output)

    def _flows(self, _: Any, args: Any, output: torch.Tensor) -> None:
        self.calls[-1].flows.append(Flow(*(copied(value) for value in (*args[1:], output))))

    def _leaves(self, _: Any, args: Any, kwargs: Any, output: Any) -> None:
        self._feeding.close()
        if output is None:  # it failed, and says so itself
            return
        call = self.calls[-1]
        if len(self._fed.drawn) != 1:
            raise RuntimeError(f"the flow LM drew {len(self._fed.drawn)} times in one call; the case feeds one draw")
        call.noise, call.latent = self._fed.drawn[0], copied(output[0])
        end = call.position + call.length
        for state in attention_states(kwargs["model_state"]):
            call.rows.append(copied(state["cache"][:, :, call.position : end]))
            if not bool(state["cache"][:, :, end:].isnan().all()):
                raise RuntimeError(f"upstream wrote into its cache behind position {end}")

    def _decodes(self, _: Any, args: Any, output: torch.Tensor) -> None:
        states, position = {}, 0
        for name, (module, key) in self._states.items():
            value = args[1][module][key]
            if key == "cache":
                position = int(args[1][module]["offset"])
                value = value[:, :, position : position + 16]
            states[name] = copied(value)
        self.frames.append(Frame(copied(output), position, states))


def attention_states(model_state: Any) -> list[Any]:
    return [state for state in model_state.values() if "cache" in state]


def named_states(mimi: Any) -> dict[str, tuple[str, str]]:
    """The decoder's states as the port names them, in the order of decoding: the upstream's module, and its key."""
    counts = {"partial": 0, "cache": 0, "previous": 0}
    named = {}
    for part in ("upsample", "decoder_transformer", "decoder"):
        for path, module in getattr(mimi, part).named_modules():
            if not hasattr(module, "init_state"):
                continue
            state = module.init_state(1, 1)
            for key in counts:
                if key in state and state[key].numel():
                    named[f"{key}{counts[key]}"] = (f"{part}.{path}", key)
                    counts[key] += 1
    return named


def copied(value: torch.Tensor) -> Array:
    return value.detach().numpy().copy()
