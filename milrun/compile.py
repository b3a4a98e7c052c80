"""Turns a function of the program into a plan. Everything that can be known before the first input is settled here."""

from __future__ import annotations

from collections import ChainMap
from typing import Any

import torch
from torch import Tensor

import milrun.ops  # noqa: F401 (registers the ops)
from milrun import kernels
from milrun.calls import Call
from milrun.errors import ModelError
from milrun.frames import join_frames
from milrun.fusion import ATTENTION, broadcast_selects, fuse_attention, name_squares
from milrun.growth import SIZES
from milrun.guard import Guard, budget, depends_on_data
from milrun.numerics import Numerics
from milrun.plan import BlockPlan, Context, Env, Step, branch, loop, watched
from milrun.program import Block, Function, Operation, StateType, Type, Value
from milrun.recurrence import GRU, fuse_recurrence
from milrun.registry import find
from milrun.values import BlockValues, Compilation, Ref, Scope
from milrun.views import join_views
from milrun.work import WORK

BUILT_IN = frozenset({"const", "cond", "while_loop", "read_state", "write_state"})
"""Op types that the compiler carries out itself: they need names, blocks or states, which no kernel sees."""

INTERNAL = frozenset({ATTENTION, GRU})
"""Op types of our own, which no package may name."""

_FOLD_LIMIT = 1 << 22
_RANDOM = frozenset({"random_bernoulli", "random_categorical", "random_normal", "random_uniform"})


class Plan:
    """A compiled function: ``start`` gives an environment; fill the inputs, execute the body, read the outputs."""

    def __init__(
        self, inputs: dict[str, int], outputs: dict[str, int], body: BlockPlan, template: Env, data_sized: bool
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.body = body
        self.data_sized = data_sized
        """True if sizes may depend on more than the shapes of the inputs."""
        self._template = template
        held = (value for value in template if isinstance(value, Tensor))
        self.constant_memory = {tensor.untyped_storage().data_ptr() for tensor in held}

    def start(self, context: Context) -> Env:
        env = self._template.copy()
        env[0] = context
        return env


def unsupported(function: Function) -> list[Operation]:
    """Return the ops of a function, nested ones included, that lack an implementation in its opset."""
    return [
        op
        for op in function.body.walk()
        if op.type in INTERNAL or (op.type not in BUILT_IN and find(op.type, function.opset) is None)
    ]


def compile_function(function: Function, numerics: Numerics, *, fold: bool = True, guard: Guard | None = None) -> Plan:
    """Compile a function. With ``fold`` off every op stays a step of its own, as tracing wants it."""
    if fold:
        function = join_views(join_frames(name_squares(broadcast_selects(function))))
        function = fuse_attention(function) if numerics.name == "fp32" else function
        function = function if numerics.rules else fuse_recurrence(function, fused=numerics.name == "fp32")
    shared = Compilation(function, numerics, fold, guard or Guard(budget(0)))
    scope: Scope = ChainMap({name: Ref(type, shared.new_slot()) for name, type in function.inputs})
    if len(scope) != len(function.inputs):
        raise ModelError(f"function {function.name!r} has two inputs of one name")
    tensors = {name: ref.slot for name, ref in scope.items() if not isinstance(ref.type, StateType)}
    body = _BlockBuilder(BlockValues(shared, scope, ChainMap())).build(function.body, tuple(tensors.values()))
    outputs = dict(zip(function.body.outputs, body.outputs, strict=True))
    return Plan(tensors, outputs, body, shared.template, shared.data_sized)


class _BlockBuilder:
    """Compiles the ops of one block in order."""

    def __init__(self, values: BlockValues) -> None:
        self.values = values
        self.shared = values.shared
        self.steps = values.steps

    def build(self, block: Block, inputs: tuple[int, ...]) -> BlockPlan:
        for operation in block.operations:
            self.add(operation)
        refs = [self.values.lookup(name, f"{block.place}: an output of a block") for name in block.outputs]
        for name, ref in zip(block.outputs, refs, strict=True):
            if isinstance(ref.type, StateType):
                raise ModelError(f"{block.place}: the output {name!r} of a block is a state")
        outputs = tuple(self.values.stored(ref) for ref in refs)
        plan = BlockPlan(inputs, outputs, self.steps, kernels.unroll)
        plan.mark_lifetimes(self.shared.kept)
        return plan

    def add(self, operation: Operation) -> None:
        if operation.type == "const":
            self.add_constant(operation)
        elif operation.type == "cond":
            self.add_cond(operation)
        elif operation.type == "while_loop":
            self.add_loop(operation)
        elif operation.type == "read_state":
            self.add_read_state(operation)
        elif operation.type == "write_state":
            self.add_write_state(operation)
        else:
            self.add_call(operation)

    def emit(self, run: Any, operation: Operation, reads: set[int], writes: tuple[int, ...]) -> None:
        names = tuple(name for name, _ in operation.outputs) if len(writes) == len(operation.outputs) else ()
        self.shared.data_sized |= depends_on_data(operation.type, False)
        self.steps.append(Step(run, operation, frozenset(reads), writes, names))

    def add_constant(self, operation: Operation) -> None:
        values = operation.inputs.get("val", [])
        value = values[0] if len(values) == 1 else None
        if not isinstance(value, Value) or len(operation.outputs) != 1:
            raise ModelError(f"{operation.where} must have one value and one result")
        name = operation.outputs[0][0]
        self.values.check_new(name, value.type, operation)
        self.values.scope[name] = Ref(value.type, self.shared.new_slot(), self.values.load(value, operation))

    def add_read_state(self, operation: Operation) -> None:
        name, _ = self.state(operation)
        slots = self.values.define(operation)
        if len(slots) != 1:
            raise ModelError(f"{operation.where} must have one result")
        self.emit(kernels.read_state(name, slots[0]), operation, set(), slots)

    def add_write_state(self, operation: Operation) -> None:
        name, type = self.state(operation)
        data = self.values.only(operation, "data")
        if self.shared.want(data.type) is not self.shared.want(type):
            raise ModelError(f"{operation.where} writes {data.type} into a state of type {type}")
        source = self.values.stored(data)
        self.emit(kernels.write_state(name, source), operation, {source}, ())

    def state(self, operation: Operation) -> tuple[str, Type]:
        arguments = operation.inputs.get("input", [])
        name = arguments[0] if len(arguments) == 1 else None
        if not isinstance(name, str) or not isinstance(self.values.lookup(name, operation.where).type, StateType):
            raise ModelError(f"{operation.where} does not name a state")
        type = self.values.scope[name].type
        assert isinstance(type, StateType)
        return name, type.wrapped

    def add_cond(self, operation: Operation) -> None:
        pred = self.values.stored(self.values.only(operation, "pred"))
        if len(operation.blocks) != 2:
            raise ModelError(f"{operation.where} has {len(operation.blocks)} blocks instead of two")
        on_true, on_false = (self.nested(block, ()) for block in operation.blocks)
        self.check_results(operation, len(on_true.outputs), len(on_false.outputs))
        writes = self.values.define(operation)
        reads = {pred} | on_true.reads() | on_false.reads()
        self.emit(branch(pred, (on_true, on_false), writes), operation, reads, writes)

    def add_loop(self, operation: Operation) -> None:
        initial = tuple(self.values.stored(ref) for ref in self.values.refs(operation, "loop_vars"))
        if len(operation.blocks) != 2:
            raise ModelError(f"{operation.where} has {len(operation.blocks)} blocks instead of two")
        outside, self.shared.data_sized = self.shared.data_sized, False
        test, body = (self.nested(block, tuple(block.inputs)) for block in operation.blocks)
        settles = not self.shared.data_sized
        self.shared.data_sized |= outside
        self.check_results(operation, len(initial), len(test.inputs), len(body.inputs), len(body.outputs))
        if len(test.outputs) != 1:
            raise ModelError(f"{operation.where} has a condition of {len(test.outputs)} values instead of one")
        writes = self.values.define(operation)
        reads = set(initial) | test.reads() | body.reads()
        inner = {op.type for block in operation.blocks for op in block.walk()}
        is_pure = inner.isdisjoint(_RANDOM | {"read_state", "write_state"})
        self.emit(loop(initial, test, body, writes, is_pure, settles), operation, reads, writes)

    def nested(self, block: Block, inputs: tuple[tuple[str, Type], ...]) -> BlockPlan:
        scope = self.values.scope.new_child()
        slots = []
        for name, type in inputs:
            if name in scope:
                raise ModelError(f"{block.place}: the input {name!r} of a block is defined already")
            scope[name] = Ref(type, self.shared.new_slot())
            slots.append(scope[name].slot)
        return _BlockBuilder(BlockValues(self.shared, scope, self.values.wide)).build(block, tuple(slots))

    def check_results(self, operation: Operation, *counts: int) -> None:
        if set(counts) != {len(operation.outputs)}:
            raise ModelError(f"{operation.where} has {len(operation.outputs)} results for blocks of {counts}")

    def add_call(self, operation: Operation) -> None:
        definition = find(operation.type, self.shared.function.opset)
        if definition is None:
            raise ModelError(f"{operation.where} is not supported in {self.shared.function.opset}")
        call = Call(self.values, operation, definition)
        is_constexpr = operation.type.startswith("constexpr_")
        if is_constexpr and not call.all_constant:
            raise ModelError(f"{operation.where} has arguments that are not constant")
        before = len(self.steps)
        writes = self.values.define(operation)
        run, reads = call.bind(writes)
        self.emit(run, operation, reads, writes)
        self.steps[-1].size, self.steps[-1].work = call.foreseen(SIZES), call.foreseen(WORK)
        foldable = self.shared.fold and call.all_constant and operation.type not in _RANDOM
        if is_constexpr or foldable:
            self.fold_last(operation, reads, writes, before, always=is_constexpr)
        else:
            self.shared.data_sized |= depends_on_data(operation.type, call.runtime_numbers)
        self.values.drop_constants(operation)

    def fold_last(
        self, operation: Operation, reads: set[int], writes: tuple[int, ...], before: int, always: bool
    ) -> None:
        """Run the step just added, and let its results be constants; a result too large to keep stays a step."""
        # Not a copy of the template: of as many folds as a program has values, that would be quadratic.
        env: Any = {slot: self.shared.template[slot] for slot in reads}
        env[0] = self.shared
        try:
            with torch.inference_mode():
                watched(self.steps[-1], env)
        except Exception as error:
            raise ModelError(f"{operation.where} failed: {error}") from error
        results = [env[slot] for slot in writes]
        if not always and any(not isinstance(r, Tensor) or r.numel() > _FOLD_LIMIT for r in results):
            return
        del self.steps[before:]
        for (name, type), slot, result in zip(operation.outputs, writes, results, strict=True):
            self.values.scope[name] = Ref(type, slot, result)
