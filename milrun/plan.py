"""A function of the program, compiled once: kernels resolved, constants laid out, lifetimes known.

A plan is a list of steps over an environment, a flat list of values: slot 0 holds the run's context, some slots hold
constants, every other slot is filled by one step and emptied after the last step that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from milrun.errors import ModelError
from milrun.guard import Guard
from milrun.program import Operation, TensorType, Type
from milrun.work import LEAST

Env = list[Any]
MAX_ITERATIONS = 1_000_000
"""Of all loops of one prediction together."""
_BYTES = 4
"""Of an element, for the bounds of the guard: most of what is large is fp32 while it is made."""


@dataclass
class Context:
    """State of one prediction: its states, the random generator, and the target of taps if it is traced."""

    state: dict[str, torch.Tensor]
    generator: torch.Generator
    guard: Guard
    input_memory: set[int] = field(default_factory=set)
    """Addresses of the inputs: memory of the caller."""
    iterations: int = 0
    taps: list[Tap] | None = None


@dataclass(frozen=True)
class Tap:
    """Named value of a traced run.

    Attributes:
        name: Name of the value in the program.
        op_type: Type of the op that computed it.
        op_name: Name of that op.
        tensor: The value, a tensor or a list.
    """

    name: str
    op_type: str
    op_name: str
    tensor: Any


@dataclass
class Step:
    """One kernel call: reads slots, fills slots, and empties those that nobody reads after it."""

    run: Callable[[Env], None]
    operation: Operation
    reads: frozenset[int]
    writes: tuple[int, ...]
    names: tuple[str, ...] = ()
    """The names of the program's values that this step computes, in the order of ``writes``."""
    size: Callable[[Env], int] | None = None
    """For an op that can make much out of little: how many elements it is about to make."""
    work: Callable[[Env], int] | None = None
    """For an op that does more than to make its elements: how many multiplications that takes."""
    dead: tuple[int, ...] = ()


@dataclass
class BlockPlan:
    """The steps of one block, with the slots of its inputs and outputs."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: list[Step] = field(default_factory=list)
    unroll: Callable[[Sequence[Step]], tuple[Callable[[Env], None], list[Step]]] | None = None
    """Makes one function of all steps, for runs that nobody watches, and tells which step each line belongs to."""

    def reads(self) -> frozenset[int]:
        """Return the slots that the block takes from outside."""
        own = set(self.inputs).union(*(step.writes for step in self.steps))
        read = set(self.outputs).union(*(step.reads for step in self.steps))
        return frozenset(read - own)

    def mark_lifetimes(self, constants: set[int]) -> None:
        """Let each step empty the slots of this block that no later step reads."""
        last: dict[int, int] = {}
        own = set(self.inputs)
        for index, step in enumerate(self.steps):
            own.update(step.writes)
            for slot in (*step.reads, *step.writes):
                last[slot] = index
        keep = constants.union(self.outputs)
        dead: dict[int, list[int]] = {}
        for slot, index in last.items():
            if slot in own and slot not in keep:
                dead.setdefault(index, []).append(slot)
        for index, step in enumerate(self.steps):
            step.dead = tuple(dead.get(index, ()))

    @cached_property
    def program(self) -> tuple[Callable[[Env], None], list[Step]]:
        assert self.unroll is not None
        return self.unroll(self.steps)


def execute(block: BlockPlan, env: Env) -> None:
    """Run the steps of a block on an environment whose input slots are filled."""
    outer = env[0].taps
    if outer is not None:
        outer.extend(traced(block, env))
        env[0].taps = outer
        return
    if not env[0].guard.trusted:
        for step in block.steps:
            _run_watched(step, env)
            for slot in step.dead:
                env[slot] = None
        return
    run, owners = block.program
    try:
        run(env)
    except ModelError:
        raise
    except Exception as error:
        inside = error.__traceback__.tb_next if error.__traceback__ else None
        raise _failure(owners[inside.tb_lineno - 1 if inside else 0], error) from error


def watched(step: Step, env: Env) -> None:
    """Run a step under the guard of its run."""
    guard: Guard = env[0].guard
    if step.size is not None:
        guard.check(step.size(env) * _BYTES)
    guard.spend(step.work(env) if step.work is not None else 0)
    step.run(env)
    made = 0
    for slot in step.writes:
        guard.charge(env[slot])
        made += env[slot].numel() if isinstance(env[slot], torch.Tensor) else 0
    guard.spend(max(made, LEAST))
    if step.names:
        for (name, declared), slot in zip(step.operation.outputs, step.writes, strict=True):
            if fault := misfit(declared, env[slot]):
                raise TypeError(f"{name!r} is declared {declared}, and {fault} comes out: Core ML would not compile it")


def traced(block: BlockPlan, env: Env) -> Iterator[Tap]:
    """Run the steps of a block one by one, and hand out every named value as it is computed."""
    context: Context = env[0]
    for step in block.steps:
        inner: list[Tap] = []
        context.taps = inner
        _run_watched(step, env)
        yield from inner
        for name, slot in zip(step.names, step.writes, strict=False):
            yield Tap(name, step.operation.type, step.operation.name, env[slot])
        for slot in step.dead:
            env[slot] = None


def misfit(declared: Type, value: Any) -> str:
    """Return what a value is where it isn't what its declaration says; empty where it is.

    Only the class of the element type is compared: how many bits a value is held in is the numerics' choice.
    """
    if not isinstance(declared, TensorType) or not isinstance(value, torch.Tensor):
        return ""
    wanted, found = declared.dtype.storage, value.dtype
    kinds = [(kind.is_floating_point, kind is torch.bool) for kind in (wanted, found)]
    fits = declared.shape is None or (
        len(declared.shape) == value.dim()
        and all(size is None or size == actual for size, actual in zip(declared.shape, value.shape, strict=True))
    )
    if fits and kinds[0] == kinds[1]:
        return ""
    return f"{str(found).removeprefix('torch.')}[{', '.join(map(str, value.shape))}]"


def _run_watched(step: Step, env: Env) -> None:
    try:
        watched(step, env)
    except ModelError:
        raise
    except Exception as error:
        raise _failure(step, error) from error


def _failure(step: Step, error: Exception) -> ModelError:
    reason = str(error).split("\n")[0] or type(error).__name__
    return ModelError(f"{step.operation.where} failed: {reason}")


def branch(pred: int, blocks: tuple[BlockPlan, BlockPlan], writes: tuple[int, ...]) -> Callable[[Env], None]:
    """Return the kernel of ``cond``."""
    on_true, on_false = blocks

    def run(env: Env) -> None:
        chosen = on_true if env[pred].item() else on_false
        execute(chosen, env)
        _move(env, chosen.outputs, writes)

    return run


def loop(
    initial: tuple[int, ...], test: BlockPlan, body: BlockPlan, writes: tuple[int, ...], is_pure: bool, settles: bool
) -> Callable[[Env], None]:
    """Return the kernel of ``while_loop``.

    ``is_pure`` says that an iteration depends on the loop's variables alone, ``settles`` that the sizes in it follow
    from their shapes. Then an iteration that left the shapes as they were stands for all: the others run unwatched.
    """

    most = 0
    """The work of an iteration."""

    def run(env: Env) -> None:
        nonlocal most
        context: Context = env[0]
        guard = context.guard
        values = [env[slot] for slot in initial]
        before_loop, iteration = guard.trusted, 0
        try:
            while True:
                _fill(env, test.inputs, values)
                execute(test, env)
                if not env[test.outputs[0]].item():
                    break
                iteration += 1
                context.iterations += 1
                if context.iterations > MAX_ITERATIONS:
                    raise RuntimeError(f"the loop did not end, after {MAX_ITERATIONS} iterations in all")
                _fill(env, body.inputs, values)
                work = guard.work
                if guard.trusted:
                    guard.spend(most)
                execute(body, env)
                before, values = values, [env[slot] for slot in body.outputs]
                if not guard.trusted:
                    most = max(most, guard.work - work)
                    guard.settled &= settles and _shapes(before) == _shapes(values)
                    guard.trusted = guard.settled and context.taps is None
                # At powers of two only: a loop that is stuck is found soon, and one that is not pays next to nothing.
                if is_pure and iteration & (iteration - 1) == 0 and _same(before, values):
                    raise RuntimeError("the loop can't end: an iteration leaves its variables as they are")
            guard.settled &= iteration > 0 or guard.trusted
        finally:
            guard.trusted = before_loop
        _fill(env, writes, values)

    return run


def _shapes(values: list[Any]) -> Any:
    """Return the shapes of a loop's variables; of lists nothing is known, and they equal nothing."""
    return [value.shape if isinstance(value, torch.Tensor) else object() for value in values]


def _same(before: list[Any], after: list[Any]) -> bool:
    return all(
        a is b or (isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and torch.equal(a, b))
        for a, b in zip(before, after, strict=True)
    )


def _fill(env: Env, slots: tuple[int, ...], values: list[Any]) -> None:
    for slot, value in zip(slots, values, strict=True):
        env[slot] = value


def _move(env: Env, sources: tuple[int, ...], targets: tuple[int, ...]) -> None:
    _fill(env, targets, [env[slot] for slot in sources])
