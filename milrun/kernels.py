"""Binds a kernel to slots: the small closures that a plan is made of.

A closure exists per number of operands, since at a microsecond per torch call every lookup counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from milrun.plan import Env, Step

Kernel = Callable[..., Any]


@dataclass(frozen=True)
class Operand:
    """One run-time argument of a kernel: the slots it comes from, and what brings it into form."""

    name: str
    slots: tuple[int, ...]
    is_list: bool = False
    convert: Callable[[Any], Any] | None = None

    @property
    def is_plain(self) -> bool:
        return not self.is_list and self.convert is None

    def fetch(self, env: Env) -> Any:
        value = [env[slot] for slot in self.slots] if self.is_list else env[self.slots[0]]
        return value if self.convert is None else self.convert(value)


@dataclass(frozen=True)
class Inline:
    """Work of a plain step, for a program that does it without calling the step."""

    kernel: Kernel
    slots: tuple[int, ...]
    out: int
    want: torch.dtype | None


def unroll(steps: Sequence[Step]) -> tuple[Callable[[Env], None], list[Step]]:
    """Return one function that runs all steps, and the step of each of its lines.

    At a microsecond or two per torch call, a loop over steps and a call for each of them can be felt. The source is
    made of numbers alone: nothing of a package's text gets into it.
    """
    names: dict[str, Any] = {"stored_as": stored_as}
    lines, owners = ["def program(env):", "    pass"], [steps[0], steps[0]] if steps else []
    for index, step in enumerate(steps):
        inline: Inline | None = getattr(step.run, "inline", None)
        if inline is None:
            names[f"run{index}"] = step.run
            lines.append(f"    run{index}(env)")
        else:
            names |= {f"kernel{index}": inline.kernel, f"want{index}": inline.want}
            operands = ", ".join(f"env[{slot}]" for slot in inline.slots)
            stored = "y" if inline.want is None else f"y if y.dtype is want{index} else stored_as(y, want{index})"
            lines += [f"    y = kernel{index}({operands})", f"    env[{inline.out}] = {stored}"]
        lines += [f"    env[{slot}] = None" for slot in step.dead]
        owners += [step] * (len(lines) - len(owners))
    exec(compile("\n".join(lines), "<plan>", "exec"), names)
    return names["program"], owners


def bind(
    kernel: Kernel,
    positions: list[str],
    operands: list[Operand],
    constants: dict[str, Any],
    writes: tuple[int, ...],
    wants: tuple[torch.dtype | None, ...],
) -> Callable[[Env], None]:
    """Return a closure that calls the kernel and stores its results in the wanted dtypes.

    ``positions`` are the kernel's parameters in order; ``wants`` holds None for a result that is not a tensor.
    """
    if constants:
        kernel = partial(kernel, **constants)
    leading = [operand.name for operand in operands] == positions[: len(operands)]
    if leading and all(operand.is_plain for operand in operands):
        slots = tuple(operand.slots[0] for operand in operands)
        if len(writes) > 1:
            return _several(kernel, slots, writes, wants)
        if len(writes) == 1:
            return _plain(kernel, slots, writes[0], wants[0])
    if leading and len(writes) == 1 and len(operands) == 1 and operands[0].convert is None:
        return _variadic(kernel, operands[0].slots, writes[0], wants[0])
    return _general(kernel, operands, writes, wants)


def _plain(kernel: Kernel, slots: tuple[int, ...], out: int, want: torch.dtype | None) -> Callable[[Env], None]:
    def run(env: Env) -> None:
        env[out] = stored_as(kernel(*[env[slot] for slot in slots]), want)

    run.inline = Inline(kernel, slots, out, want)  # type: ignore[attr-defined]
    return run


def _variadic(kernel: Kernel, slots: tuple[int, ...], out: int, want: torch.dtype | None) -> Callable[[Env], None]:
    def run(env: Env) -> None:
        y = kernel([env[slot] for slot in slots])
        env[out] = y if y.dtype is want else stored_as(y, want)

    return run


def _several(
    kernel: Kernel, slots: tuple[int, ...], writes: tuple[int, ...], wants: tuple[torch.dtype | None, ...]
) -> Callable[[Env], None]:
    results = tuple(zip(writes, wants, strict=True))

    def run(env: Env) -> None:
        for y, (out, want) in zip(kernel(*[env[slot] for slot in slots]), results, strict=True):
            env[out] = stored_as(y, want)

    return run


def _general(
    kernel: Kernel, operands: list[Operand], writes: tuple[int, ...], wants: tuple[torch.dtype | None, ...]
) -> Callable[[Env], None]:
    def run(env: Env) -> None:
        results = kernel(**{operand.name: operand.fetch(env) for operand in operands})
        if not isinstance(results, tuple):
            results = (results,)
        for slot, result, want in zip(writes, results, wants, strict=True):
            env[slot] = stored_as(result, want)

    return run


def stored_as(value: Any, want: torch.dtype | None) -> Any:
    """Return a result in its storage type: the one rounding of ``declared``. None leaves other results unchanged."""
    if want is None:
        return value
    if isinstance(value, list):
        return [stored_as(item, want) for item in value]
    if isinstance(value, str | int | dict):
        # The label and the probabilities of a classifier.
        return value
    if value.dtype is want:
        return value
    if want is torch.bool or value.dtype is torch.bool or value.is_floating_point() == want.is_floating_point:
        return value.to(want)
    if want.is_floating_point:
        return value.to(want)
    # An integer result of floating-point work (a division of integers) is cut off towards zero.
    return value.trunc().to(want)


def widen(source: int, target: int) -> Callable[[Env], None]:
    def run(env: Env) -> None:
        env[target] = env[source].float()

    return run


def read_state(name: str, target: int) -> Callable[[Env], None]:
    def run(env: Env) -> None:
        env[target] = env[0].state[name]

    return run


def write_state(name: str, source: int) -> Callable[[Env], None]:
    def run(env: Env) -> None:
        held = env[0].state[name]
        value = env[source]
        if value.shape != held.shape:
            raise ValueError(f"state {name!r} has the shape {tuple(held.shape)}, not {tuple(value.shape)}")
        env[0].state[name] = value

    return run
