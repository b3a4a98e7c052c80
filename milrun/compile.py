"""Turns a function of the program into a plan. Everything that can be known before the first input is settled here."""

from __future__ import annotations

import inspect
from collections import ChainMap, Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import milrun.ops  # noqa: F401 (registers the ops)
from milrun import kernels
from milrun.arguments import converter, is_tensor_form, python_value, takes_several
from milrun.errors import ModelError
from milrun.growth import SIZES
from milrun.guard import Guard, budget, depends_on_data
from milrun.kernels import Operand
from milrun.numerics import Numerics
from milrun.plan import BlockPlan, Context, Env, Step, branch, loop, watched
from milrun.program import Block, Datum, Function, ListType, Operation, StateType, TensorType, Type, Value
from milrun.registry import OpDef, Parameter, find, find_preparer, parameters_of

BUILT_IN = frozenset({"const", "cond", "while_loop", "read_state", "write_state"})
"""Op types that the compiler carries out itself: they need names, blocks or states, which no kernel sees."""

_FOLD_LIMIT = 1 << 22
_RANDOM = frozenset({"random_bernoulli", "random_categorical", "random_normal", "random_uniform"})


@dataclass(eq=False)
class Ref:
    """A named value while compiling: its type, its slot, and what it holds if it is a constant."""

    type: Type
    slot: int
    datum: Datum | None = None
    wide: Tensor | None = None

    @property
    def is_constant(self) -> bool:
        return self.datum is not None


Scope = ChainMap[str, Ref]
_GONE = torch.empty(0)
"""What a constant holds once nothing will read it any more."""


class Plan:
    """A compiled function: ``start`` gives an environment; fill the inputs, execute the body, read the outputs."""

    def __init__(
        self, inputs: dict[str, int], outputs: dict[str, int], body: BlockPlan, template: Env, data_sized: bool
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.body = body
        self.data_sized = data_sized
        """Whether sizes may depend on more than the shapes of the inputs."""
        self._template = template

    def start(self, context: Context) -> Env:
        env = self._template.copy()
        env[0] = context
        return env


def _names(block: Block) -> Iterator[str]:
    """Every name that a block reads, as often as it does."""
    yield from block.outputs
    for operation in block.operations:
        for arguments in operation.inputs.values():
            yield from (argument for argument in arguments if isinstance(argument, str))
        for inner in operation.blocks:
            yield from _names(inner)


def unsupported(function: Function) -> list[Operation]:
    """The ops of a function, nested ones included, that have no implementation in its opset."""
    return [op for op in function.body.walk() if op.type not in BUILT_IN and find(op.type, function.opset) is None]


def compile_function(function: Function, numerics: Numerics, *, fold: bool = True, guard: Guard | None = None) -> Plan:
    """Compile a function. With ``fold`` off every op stays a step of its own, as tracing wants it."""
    compiler = _Compiler(function, numerics, fold, guard or Guard(budget(0)))
    scope: Scope = ChainMap({name: Ref(type, compiler.new_slot()) for name, type in function.inputs})
    if len(scope) != len(function.inputs):
        raise ModelError(f"function {function.name!r} has two inputs of one name")
    tensors = {name: ref.slot for name, ref in scope.items() if not isinstance(ref.type, StateType)}
    body = _BlockBuilder(compiler, scope, ChainMap()).build(function.body, tuple(tensors.values()))
    outputs = dict(zip(function.body.outputs, body.outputs, strict=True))
    return Plan(tensors, outputs, body, compiler.template, compiler.data_sized)


class _Compiler:
    """What all blocks of a function share."""

    def __init__(self, function: Function, numerics: Numerics, fold: bool, guard: Guard) -> None:
        self.function = function
        self.numerics = numerics
        self.fold = fold
        self.guard = guard
        self.data_sized = False
        self.template: Env = [None]
        self.uses = Counter(_names(function.body))
        """How often each name is still to be read."""
        self.kept: set[int] = set()
        """Slots of constants: filled in the template, never emptied."""

    def new_slot(self) -> int:
        self.template.append(None)
        return len(self.template) - 1

    def keep(self, slot: int, datum: Any) -> int:
        self.template[slot] = datum
        self.kept.add(slot)
        return slot

    def want(self, type: Type) -> torch.dtype | None:
        if isinstance(type, ListType):
            return self.want(type.element)
        return self.numerics.storage(type.dtype) if isinstance(type, TensorType) else None


class _BlockBuilder:
    """Compiles the ops of one block in order. Names and widened values of a block end with it."""

    def __init__(self, compiler: _Compiler, scope: Scope, wide: ChainMap[Ref, int]) -> None:
        self.compiler = compiler
        self.scope = scope.new_child()
        self.wide = wide.new_child()
        self.steps: list[Step] = []

    def build(self, block: Block, inputs: tuple[int, ...]) -> BlockPlan:
        for operation in block.operations:
            self.add(operation)
        refs = [self.lookup(name, f"{block.place}: an output of a block") for name in block.outputs]
        for name, ref in zip(block.outputs, refs, strict=True):
            if isinstance(ref.type, StateType):
                raise ModelError(f"{block.place}: the output {name!r} of a block is a state")
        outputs = tuple(self.stored(ref) for ref in refs)
        plan = BlockPlan(inputs, outputs, self.steps)
        plan.mark_lifetimes(self.compiler.kept)
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

    def lookup(self, name: str, where: str) -> Ref:
        if name not in self.scope:
            raise ModelError(f"{where} refers to {name!r}, which nothing before it defines")
        return self.scope[name]

    def refs(self, operation: Operation, parameter: str) -> list[Ref]:
        found = []
        for argument in operation.inputs.get(parameter, []):
            if isinstance(argument, Value):
                found.append(Ref(argument.type, self.compiler.new_slot(), self.load(argument, operation)))
            else:
                found.append(self.lookup(argument, operation.where))
        return found

    def only(self, operation: Operation, parameter: str) -> Ref:
        refs = self.refs(operation, parameter)
        if len(refs) != 1:
            raise ModelError(f"{operation.where} has {len(refs)} arguments for {parameter!r} instead of one")
        return refs[0]

    def define(self, operation: Operation) -> tuple[int, ...]:
        """Slots for the results of an op, under their names."""
        slots = []
        for name, type in operation.outputs:
            self.check_new(name, type, operation)
            self.scope[name] = Ref(type, self.compiler.new_slot())
            slots.append(self.scope[name].slot)
        return tuple(slots)

    def check_new(self, name: str, type: Type, operation: Operation) -> None:
        if name in self.scope:
            raise ModelError(f"{operation.where} defines {name!r}, which is defined already")
        if isinstance(type, TensorType) and type.least_bytes() > self.compiler.guard.limit:
            raise ModelError(f"{operation.where} declares a result of type {type}, more than the package justifies")

    def load(self, value: Value, operation: Operation) -> Datum:
        guard = self.compiler.guard
        try:
            if value.decoded_bytes:
                guard.check(value.decoded_bytes)
            datum = value.load()
        except Exception as error:
            raise ModelError(f"{operation.where}: {error}") from error
        if value.decoded_bytes and isinstance(datum, Tensor):
            guard.charge(datum)
        return datum

    def emit(self, run: Any, operation: Operation, reads: set[int], writes: tuple[int, ...]) -> None:
        names = tuple(name for name, _ in operation.outputs) if len(writes) == len(operation.outputs) else ()
        self.compiler.data_sized |= depends_on_data(operation.type, False)
        self.steps.append(Step(run, operation, frozenset(reads), writes, names))

    # Values in the form that a kernel wants

    def stored(self, ref: Ref) -> int:
        """The slot of a value as it is stored."""
        if ref.is_constant and ref.slot not in self.compiler.kept:
            self.compiler.keep(ref.slot, self.constant(ref, widen=False))
        return ref.slot

    def widened(self, ref: Ref, operation: Operation) -> int:
        """The slot of a value in fp32, where it is stored in fp16: made once for all ops that want it."""
        if ref not in self.wide:
            if ref.is_constant:
                if self.constant(ref, widen=True) is self.constant(ref, widen=False):
                    return self.stored(ref)
                self.wide[ref] = self.compiler.keep(self.compiler.new_slot(), self.constant(ref, widen=True))
            elif self.compiler.want(ref.type) is torch.float16 and isinstance(ref.type, TensorType):
                slot = self.wide[ref] = self.compiler.new_slot()
                self.steps.append(Step(kernels.widen(ref.slot, slot), operation, frozenset({ref.slot}), (slot,)))
            else:
                return ref.slot
        return self.wide[ref]

    def constant(self, ref: Ref, widen: bool) -> Datum:
        datum = ref.datum
        assert datum is not None
        in_fp32 = widen or self.compiler.numerics.name == "fp32"
        if not in_fp32 or not isinstance(datum, Tensor) or datum.dtype is not torch.float16:
            return datum
        if ref.wide is None:
            ref.wide = datum.float()
        return ref.wide

    # Ops

    def add_constant(self, operation: Operation) -> None:
        values = operation.inputs.get("val", [])
        value = values[0] if len(values) == 1 else None
        if not isinstance(value, Value) or len(operation.outputs) != 1:
            raise ModelError(f"{operation.where} must have one value and one result")
        name = operation.outputs[0][0]
        self.check_new(name, value.type, operation)
        self.scope[name] = Ref(value.type, self.compiler.new_slot(), self.load(value, operation))

    def add_read_state(self, operation: Operation) -> None:
        name, _ = self.state(operation)
        slots = self.define(operation)
        if len(slots) != 1:
            raise ModelError(f"{operation.where} must have one result")
        self.emit(kernels.read_state(name, slots[0]), operation, set(), slots)

    def add_write_state(self, operation: Operation) -> None:
        name, type = self.state(operation)
        data = self.only(operation, "data")
        if self.compiler.want(data.type) is not self.compiler.want(type):
            raise ModelError(f"{operation.where} writes {data.type} into a state of type {type}")
        source = self.stored(data)
        self.emit(kernels.write_state(name, source), operation, {source}, ())

    def state(self, operation: Operation) -> tuple[str, Type]:
        arguments = operation.inputs.get("input", [])
        name = arguments[0] if len(arguments) == 1 else None
        if not isinstance(name, str) or not isinstance(self.lookup(name, operation.where).type, StateType):
            raise ModelError(f"{operation.where} does not name a state")
        type = self.scope[name].type
        assert isinstance(type, StateType)
        return name, type.wrapped

    def add_cond(self, operation: Operation) -> None:
        pred = self.stored(self.only(operation, "pred"))
        if len(operation.blocks) != 2:
            raise ModelError(f"{operation.where} has {len(operation.blocks)} blocks instead of two")
        on_true, on_false = (self.nested(block, ()) for block in operation.blocks)
        self.check_results(operation, len(on_true.outputs), len(on_false.outputs))
        writes = self.define(operation)
        reads = {pred} | on_true.reads() | on_false.reads()
        self.emit(branch(pred, (on_true, on_false), writes), operation, reads, writes)

    def add_loop(self, operation: Operation) -> None:
        initial = tuple(self.stored(ref) for ref in self.refs(operation, "loop_vars"))
        if len(operation.blocks) != 2:
            raise ModelError(f"{operation.where} has {len(operation.blocks)} blocks instead of two")
        test, body = (self.nested(block, tuple(block.inputs)) for block in operation.blocks)
        self.check_results(operation, len(initial), len(test.inputs), len(body.inputs), len(body.outputs))
        if len(test.outputs) != 1:
            raise ModelError(f"{operation.where} has a condition of {len(test.outputs)} values instead of one")
        writes = self.define(operation)
        reads = set(initial) | test.reads() | body.reads()
        inner = {op.type for block in operation.blocks for op in block.walk()}
        is_pure = inner.isdisjoint(_RANDOM | {"read_state", "write_state"})
        self.emit(loop(initial, test, body, writes, is_pure), operation, reads, writes)

    def nested(self, block: Block, inputs: tuple[tuple[str, Type], ...]) -> BlockPlan:
        scope = self.scope.new_child()
        slots = []
        for name, type in inputs:
            if name in scope:
                raise ModelError(f"{block.place}: the input {name!r} of a block is defined already")
            scope[name] = Ref(type, self.compiler.new_slot())
            slots.append(scope[name].slot)
        return _BlockBuilder(self.compiler, scope, self.wide).build(block, tuple(slots))

    def check_results(self, operation: Operation, *counts: int) -> None:
        if set(counts) != {len(operation.outputs)}:
            raise ModelError(f"{operation.where} has {len(operation.outputs)} results for blocks of {counts}")

    def add_call(self, operation: Operation) -> None:
        definition = find(operation.type, self.compiler.function.opset)
        if definition is None:
            raise ModelError(f"{operation.where} is not supported in {self.compiler.function.opset}")
        call = _Call(self, operation, definition)
        is_constexpr = operation.type.startswith("constexpr_")
        if is_constexpr and not call.all_constant:
            raise ModelError(f"{operation.where} has arguments that are not constant")
        before = len(self.steps)
        writes = self.define(operation)
        run, reads = call.bind(writes)
        self.emit(run, operation, reads, writes)
        self.steps[-1].size = call.size()
        foldable = self.compiler.fold and call.all_constant and operation.type not in _RANDOM
        if is_constexpr or foldable:
            self.fold_last(operation, reads, writes, before, always=is_constexpr)
        else:
            self.compiler.data_sized |= depends_on_data(operation.type, call.runtime_numbers)
        self.drop_constants(operation)

    def drop_constants(self, operation: Operation) -> None:
        """Let go of constants that no later op reads: kernels hold them in the form they execute with."""
        for argument in (a for arguments in operation.inputs.values() for a in arguments if isinstance(a, str)):
            self.compiler.uses[argument] -= 1
            ref = self.scope[argument]
            if ref.is_constant and not self.compiler.uses[argument]:
                ref.datum, ref.wide = _GONE, None

    def fold_last(
        self, operation: Operation, reads: set[int], writes: tuple[int, ...], before: int, always: bool
    ) -> None:
        """Run the step just added, and let its results be constants; a result too large to keep stays a step."""
        # Not a copy of the template: of as many folds as a program has values, that would be quadratic.
        env: Any = {slot: self.compiler.template[slot] for slot in reads}
        env[0] = self.compiler
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
            self.scope[name] = Ref(type, slot, result)


class _Call:
    """The arguments of one op, sorted into constants and run-time operands."""

    def __init__(self, builder: _BlockBuilder, operation: Operation, definition: OpDef) -> None:
        self.builder = builder
        self.operation = operation
        self.definition = definition
        self.runtime_numbers = False
        """Whether it takes numbers or lists of them, not as tensors, that only a run knows."""
        self.numerics = builder.compiler.numerics
        names = [parameter.name for parameter in definition.parameters]
        for name in operation.inputs:
            if name not in names:
                raise ModelError(f"{operation.where} has an argument {name!r}, known are {', '.join(names)}")
        self.refs = {name: builder.refs(operation, name) for name in operation.inputs}
        self.refs = {name: refs for name, refs in self.refs.items() if refs or operation.inputs[name] == []}
        for parameter in definition.parameters:
            self.check(parameter)
        refs = [ref for group in self.refs.values() for ref in group]
        self.all_constant = all(ref.is_constant for ref in refs)
        floats = {builder.compiler.want(ref.type) for ref in refs} & {torch.float16, torch.float32}
        as_stored = self.numerics.works_as_stored(operation.type) and len(floats) < 2
        self.widen = not as_stored and not operation.type.startswith("constexpr_lut")

    def check(self, parameter: Parameter) -> None:
        refs = self.refs.get(parameter.name)
        if refs is None:
            if not parameter.optional and parameter.form is not torch.Generator:
                raise ModelError(f"{self.operation.where} lacks its argument {parameter.name!r}")
        elif not takes_several(parameter.form) and len(refs) != 1:
            raise ModelError(f"{self.operation.where} has {len(refs)} values for its argument {parameter.name!r}")

    def bind(self, writes: tuple[int, ...]) -> tuple[Any, set[int]]:
        """The step's function, and the slots it reads."""
        kernel, parameters, taken = self.kernel()
        operands: list[Operand] = []
        constants: dict[str, Any] = {}
        self.taken, self.operands, self.constants = taken, operands, constants
        for parameter in parameters:
            if parameter.name in taken:
                continue
            if parameter.form is torch.Generator:
                operands.append(Operand(parameter.name, (0,), convert=lambda context: context.generator))
                continue
            refs = self.refs.get(parameter.name)
            if refs is None:
                continue
            if is_tensor_form(parameter.form):
                operands.append(self.tensor_operand(parameter, refs))
            elif all(ref.is_constant for ref in refs):
                constants[parameter.name] = self.python_constant(parameter, refs)
            else:
                self.runtime_numbers = True
                slots = tuple(self.builder.stored(ref) for ref in refs)
                operands.append(Operand(parameter.name, slots, len(refs) > 1, converter(parameter.form)))
        for rule in self.numerics.rules:
            if self.operation.type in rule.ops:
                kernel = rule.bend(kernel, self.operation.type)
        wants = tuple(self.builder.compiler.want(type) for _, type in self.operation.outputs)
        positions = [parameter.name for parameter in parameters if parameter.name not in taken]
        run = kernels.bind(kernel, positions, operands, constants, writes, wants)
        return run, {slot for operand in operands for slot in operand.slots if slot}

    def size(self) -> Callable[[Env], int] | None:
        """How many elements the op is about to make, where that may be many."""
        size = SIZES.get(self.operation.type)
        if size is None:
            return None
        # Of what a kernel has swallowed only the shapes count, and holding the weights would keep them twice.
        shapes = {name: value.to("meta") if isinstance(value, Tensor) else value for name, value in self.taken.items()}
        known, operands = shapes | self.constants, self.operands
        return lambda env: size(**known, **{operand.name: operand.fetch(env) for operand in operands})

    def tensor_operand(self, parameter: Parameter, refs: list[Ref]) -> Operand:
        for ref in refs:
            if ref.is_constant and not isinstance(ref.datum, Tensor | list):
                raise ModelError(f"{self.operation.where}: {parameter.name!r} is text where a tensor is wanted")
        slots = tuple(self.slot(ref) for ref in refs)
        holds_list = len(refs) == 1 and isinstance(refs[0].type, ListType)
        return Operand(parameter.name, slots, is_list=parameter.form == list[torch.Tensor] and not holds_list)

    def slot(self, ref: Ref) -> int:
        return self.builder.widened(ref, self.operation) if self.widen else self.builder.stored(ref)

    def python_constant(self, parameter: Parameter, refs: list[Ref]) -> Any:
        data: list[Any] = [ref.datum for ref in refs]
        try:
            return python_value(parameter.form, data[0] if len(data) == 1 else data)
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"{self.operation.where}: argument {parameter.name!r}: {error}") from error

    def kernel(self) -> tuple[Any, tuple[Parameter, ...], dict[str, Any]]:
        """The function to call, its parameters, and the arguments that it has swallowed already."""
        whole: tuple[Any, tuple[Parameter, ...], dict[str, Any]] = self.definition.run, self.definition.parameters, {}
        preparer = find_preparer(self.operation.type)
        if preparer is None or self.numerics.rules:
            return whole
        settled: dict[str, Any] = {}
        for parameter in parameters_of(preparer):
            refs = self.refs.get(parameter.name)
            if refs is None:
                continue
            if not all(ref.is_constant for ref in refs):
                return whole
            if is_tensor_form(parameter.form):
                settled[parameter.name] = self.builder.constant(refs[0], self.widen)
            else:
                settled[parameter.name] = self.python_constant(parameter, refs)
        try:
            prepared = preparer(**settled)
        except Exception as error:
            raise ModelError(f"{self.operation.where}: {error}") from error
        if prepared is None:
            return whole
        left = {p.name: p for p in self.definition.parameters}
        order = [left[name] for name in inspect.signature(prepared).parameters]
        missing = self.refs.keys() - settled.keys() - {p.name for p in order}
        return (prepared, tuple(order), settled) if not missing else whole
