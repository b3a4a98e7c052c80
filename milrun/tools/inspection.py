"""Contents of a package: interface, ops, weights and precisions, read without loading a weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from milrun.blob import count
from milrun.package import Package
from milrun.program import Function, Operation, StateType, TensorType, Type, Value, read_functions
from milrun.text.writer import write_program


def inspect(path: str | Path) -> str:
    """Return a text that tells what the package holds."""
    package = Package(path)
    spec = package.spec()
    lines = [f"{package.path}  {package.size() / 1e6:.1f} MB, specification {spec.specificationVersion}"]
    for name, program, holder in _programs(package, spec):
        for function in read_functions(program, holder).values():
            lines += ["", *_describe(name, function)]
    return "\n".join(lines)


def text(path: str | Path) -> str:
    """Return the programs of a package as MIL text, as a compiled model has it, those of a pipeline in their order."""
    package = Package(path)
    written = [
        (f"// {name}\n" if name else "") + write_program(program, str(holder.path))
        for name, program, holder in _programs(package, package.spec())
    ]
    return "\n".join(written)


def _programs(package: Package, spec: Any) -> Iterator[tuple[str, Any, Package]]:
    """Yield each program: the name of its part in a pipeline, the message, and the package that holds its weights."""
    kind = spec.WhichOneof("Type")
    if kind == "mlProgram":
        yield "", spec.mlProgram, package
    elif package.parts:
        yield from ((part.path.name, part.spec().mlProgram, part) for part in package.parts)
    elif kind in ("pipeline", "pipelineClassifier", "pipelineRegressor"):
        pipeline = spec.pipeline if kind == "pipeline" else getattr(spec, kind).pipeline
        for index, part in enumerate(pipeline.models):
            if part.WhichOneof("Type") == "mlProgram":
                name = pipeline.names[index] if index < len(pipeline.names) else f"model{index}"
                yield name, part.mlProgram, package


def _describe(part: str, function: Function) -> Iterator[str]:
    yield f"{part + ': ' if part else ''}function {function.name}  ({function.opset})"
    outputs = {name: type for op in function.body.operations for name, type in op.outputs}
    for name, type in function.inputs:
        yield f"  {'state' if isinstance(type, StateType) else 'input':<7} {name:<32} {type}"
    for name in function.body.outputs:
        yield f"  {'output':<7} {name:<32} {outputs.get(name, '')}"
    operations = [op for op in function.body.walk() if op.type != "const"]
    yield f"  ops     {len(operations)}, by type:"
    for type_name, number in Counter(op.type for op in operations).most_common():
        yield f"    {number:6}  {type_name}"
    yield "  weights by storage:"
    for kind, size in _weights(function).most_common():
        yield f"    {size:12,} bytes  {kind}"
    yield "  precision, by the type of an op's results:"
    for precision, types in sorted(_precisions(operations).items()):
        most = ", ".join(f"{name} {number}" for name, number in types.most_common(6))
        yield f"    {sum(types.values()):6}  {precision:<8} {most}{', ...' if len(types) > 6 else ''}"


def _weights(function: Function) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for operation in function.body.walk():
        values = [a for arguments in operation.inputs.values() for a in arguments if isinstance(a, Value)]
        for value in values:
            size, kind = _size(value.type)
            if size and (operation.type == "const" or operation.type.startswith("constexpr_")):
                holder = "dense" if operation.type == "const" else operation.type
                sizes[f"{holder}, {kind}, {'in the weight file' if value.storage == 'file' else 'inline'}"] += size
    return sizes


def _size(type: Type) -> tuple[int, str]:
    if not isinstance(type, TensorType) or type.shape is None:
        return 0, ""
    return (count(tuple(size or 0 for size in type.shape)) * type.dtype.bits + 7) // 8, type.dtype.name


def _precisions(operations: list[Operation]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for operation in operations:
        for _, type in operation.outputs[:1]:
            name = type.dtype.name if isinstance(type, TensorType) else str(type).split("[")[0]
            found.setdefault(name, Counter())[operation.type] += 1
    return found
