"""Damages packages and tries them, in a process of its own that may take no more memory than it is given.

Reads one damage per line, ``[kind, [[how, where, what], ...]]``, and answers each with the outcome.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import milrun
from milrun import guard, plan
from milrun.protobuf import model_class

MEMORY = 6 << 30
NUMBERS = (0, 1, -1, 2, 3, 7, 64, 65, 1 << 20, (1 << 31) - 1, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63), 1 << 63)
WORDS = ("", "x", "y", "same", "custom", "valid", "fp16", "int32", "main", "iOS15", "\0", "../..", "abc,abd->cd")

Part = tuple[Any, Any, int | None]
"""A message, a field of it, and which element of the field."""


def _parts(message: Any) -> Iterator[Part]:
    for field, content in message.ListFields():
        if field.message_type and field.message_type.GetOptions().map_entry:
            for key in sorted(content, key=str):
                if field.message_type.fields_by_name["value"].message_type:
                    yield from _parts(content[key])
        elif field.is_repeated:
            for index in range(min(len(content), 64)):
                yield message, field, index
                if field.message_type:
                    yield from _parts(content[index])
        else:
            yield message, field, None
            if field.message_type:
                yield from _parts(content)


def _field(spec: Any, where: int, what: int) -> None:
    parts = list(_parts(spec))
    message, field, index = parts[where % len(parts)]
    held = getattr(message, field.name)
    if what % 5 == 0:
        if index is None:
            message.ClearField(field.name)
        else:
            del held[index]
    elif field.message_type:
        same = [part for part in parts if part[1].message_type is field.message_type]
        other, name, at = same[what % len(same)]
        source = getattr(other, name.name) if at is None else getattr(other, name.name)[at]
        copy = type(source)()
        copy.CopyFrom(source)
        (held if index is None else held[index]).CopyFrom(copy)
    else:
        value = _scalar(spec, held if index is None else held[index], what // 5)
        if index is None:
            setattr(message, field.name, value)
        else:
            held[index] = value


def _scalar(spec: Any, old: Any, what: int) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return (*NUMBERS, old + 1, old - 1, -old, old * 2, old + 64)[what % (len(NUMBERS) + 5)]
    if isinstance(old, float):
        return (0.0, -1.0, float("nan"), float("inf"), 1e30, 1e9, old * 2, 1e-30)[what % 8]
    if isinstance(old, bytes):
        place = what % max(len(old), 1)
        return old[:place] + bytes([what % 251]) + old[place + 1 - what % 2 :]
    words = (*WORDS, *sorted({part[0].name for part in _parts(spec) if "name" in part[0].DESCRIPTOR.fields_by_name}))
    return words[what % len(words)]


def _operations(spec: Any, where: int, what: int) -> None:
    lists = [part[0].operations for part in _parts(spec) if part[1].name == "operations" and part[2] == 0]
    if not lists:
        return
    operations = lists[where % len(lists)]
    first, second = what % len(operations), what // 7 % len(operations)
    if what % 4 == 0:
        del operations[first]
    elif what % 4 == 1:
        operations.append(operations[first])
    elif what % 4 == 2:
        copy = type(operations[0])()
        copy.CopyFrom(operations[first])
        operations[first].CopyFrom(operations[second])
        operations[second].CopyFrom(copy)
    else:
        operations[first].type = operations[second].type


def _bytes(data: bytes, how: str, where: int, what: int) -> bytes:
    place = where % (len(data) + 1)
    if how == "truncate":
        return data[:place]
    if how == "insert":
        return data[:place] + what.to_bytes(8, "little") + data[place:]
    return data[:place] + bytes(byte ^ (1 << what % 8) for byte in data[place : place + 1]) + data[place + 1 :]


def _blocks(spec: Any) -> list[Any]:
    return [part[0] for part in _parts(spec) if part[1].name == "operations" and part[2] == 0]


def _boundary(spec: Any, where: int, what: int) -> None:
    """End a block after one of its ops; its outputs stay, or are those of the op."""
    blocks = _blocks(spec)
    if blocks:
        block = blocks[where % len(blocks)]
        del block.operations[1 + what % len(block.operations) :]
        if what % 2 and block.operations[-1].outputs:
            block.outputs[:] = [block.operations[-1].outputs[0].name] * len(block.outputs)


def _repeat(spec: Any, where: int, what: int) -> None:
    """Repeat an op up to some thousand times, each on the result of the one before."""
    blocks = _blocks(spec)
    found = [op for block in blocks for op in block.operations if op.inputs and op.outputs] if blocks else []
    if not found:
        return
    operation = found[where % len(found)]
    block = next(block for block in blocks if any(op is operation or op == operation for op in block.operations))
    last = operation.outputs[0].name
    for index in range((3, 40, 300, 3000)[what % 4]):
        copy = block.operations.add()
        copy.CopyFrom(operation)
        names = [binding for argument in copy.inputs.values() for binding in argument.arguments if binding.name]
        for binding in names if what // 4 % 2 else names[:1]:
            binding.name = last
        for output in copy.outputs:
            output.name = f"{output.name}_{index}"
        last = copy.outputs[0].name
    block.outputs[:] = [last] * len(block.outputs)


def _cycle(spec: Any, where: int, what: int) -> None:
    """Let an op read its own result, or that of a later op."""
    for block in _blocks(spec)[where % 3 :]:
        bindings = [b for op in block.operations for a in op.inputs.values() for b in a.arguments if b.name]
        results = [output.name for op in block.operations for output in op.outputs]
        if bindings and results:
            bindings[where % len(bindings)].name = results[-1 - what % len(results)]
            return


MESSAGE: dict[str, Callable[[Any, int, int], None]] = {
    "field": _field,
    "operations": _operations,
    "boundary": _boundary,
    "repeat": _repeat,
    "cycle": _cycle,
}


def _delete(package: Path, file: Path, what: int) -> None:
    file.unlink()


def _swap(package: Path, file: Path, what: int) -> None:
    """Put the file of the same name of another package in place."""
    zoo = Path(sys.argv[1])
    others = [other for other in sorted(zoo.rglob(file.name)) if other.is_file()]
    if others:
        file.unlink()
        shutil.copy(others[what % len(others)], file)


def _rename(package: Path, file: Path, what: int) -> None:
    targets = (file.with_name(f"{file.name}x"), file.with_name(file.name.swapcase()), package / file.name)
    file.rename(targets[what % len(targets)])


def _link(package: Path, file: Path, what: int) -> None:
    """Put a link in place of a file: to itself, to folders, to nothing, to a file elsewhere."""
    elsewhere = package.parent / f"elsewhere-{file.name}"
    file.rename(elsewhere)
    targets = (
        file,
        package,
        package.parent,
        file.with_name("nothing"),
        elsewhere,
        Path("/etc/passwd"),
        Path("../../.."),
    )
    file.symlink_to(targets[what % len(targets)])


def _device(package: Path, file: Path, what: int) -> None:
    file.unlink()
    targets = ("/dev/zero", "/dev/null", "/dev/full", "/dev/stdin", "/proc/self/mem", "")
    if target := targets[what % len(targets)]:
        file.symlink_to(target)
    else:
        os.mkfifo(file)


def _folder(package: Path, file: Path, what: int) -> None:
    """Put a folder in place of a file, or a link to a folder around it."""
    around = file.parent
    if what % 2 or around == package:
        file.unlink()
        file.mkdir()
    else:
        moved = package.parent / f"moved-{around.name}"
        shutil.move(around, moved)
        around.symlink_to(moved if what % 4 else around)


def _holes(package: Path, file: Path, what: int) -> None:
    with file.open("r+b") as opened:
        opened.truncate((1 << 20, 1 << 33, 1 << 40)[what % 3])


STRUCTURE: dict[str, Callable[[Path, Path, int], None]] = {
    "delete": _delete,
    "swap": _swap,
    "rename": _rename,
    "link": _link,
    "device": _device,
    "folder": _folder,
    "holes": _holes,
}
FILES = {"model": "*.mlmodel", "weights": "weight.bin", "manifest": "Manifest.json", "header": "weight.bin"}
HOWS = (*MESSAGE, *STRUCTURE, *(f"{how} {file}" for how in ("flip", "truncate", "insert") for file in FILES))


def _files(package: Path, name: str) -> Iterator[Path]:
    """Yield the files of a name that are the package's own: behind a link is a file that nobody may write to."""
    for path in package.rglob(name):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 24:
            yield path


def damage(package: Path, how: str, where: int, what: int) -> None:
    if how in STRUCTURE:
        files = sorted(path for path in package.rglob("*") if path.is_file() and not path.is_symlink())
        if files:
            STRUCTURE[how](package, files[where % len(files)], what)
        return
    model = next(_files(package, "*.mlmodel"), None)
    if model is None:
        return  # the damage before left nothing to damage
    if how in MESSAGE:
        spec = model_class()()
        try:
            spec.ParseFromString(model.read_bytes())
            MESSAGE[how](spec, where, what)
            model.write_bytes(spec.SerializeToString())
        except Exception:
            return  # the damage before left nothing to damage, or the value does not fit the field
        return
    action, file = how.split()
    for path in list(_files(package, FILES[file]))[:1]:
        # The records of weights are a small part of their file, and the part that is read with care.
        path.write_bytes(_bytes(path.read_bytes(), action, where % 192 if file == "header" else where, what))


def attempt(package: Path, shapes: dict[str, list[int]]) -> str:
    """Load and predict twice; the outcome in a word, or the traceback of what may not happen."""
    random = np.random.default_rng(1)
    inputs = {name: random.random(shape, dtype=np.float32) for name, shape in shapes.items()}
    try:
        model = milrun.load(package, seed=1)
        state = model.make_state()
        for _ in range(2):
            for name, value in model.predict(inputs, state).items():
                if not isinstance(value, np.ndarray | str | dict | int):
                    return f"output {name!r} is a {type(value).__name__}"
    except (milrun.ModelError, ValueError) as error:
        if isinstance(error, milrun.ModelError):
            return "ModelError" if str(error) else "an error that says nothing"
        ours = traceback.extract_tb(error.__traceback__)[-1].filename
        return "ValueError" if ours.endswith(("features.py", "model.py", "loading.py")) else traceback.format_exc()
    except Exception:
        return traceback.format_exc()
    return "fine"


def main() -> None:
    zoo = Path(sys.argv[1])
    shapes = json.loads((zoo / "shapes.json").read_text())
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # Less than what is allowed in earnest, so that an example that is allowed is quick.
    guard.FLOOR = 1 << 28
    plan.MAX_ITERATIONS = 5_000
    for line in sys.stdin:
        kind, damages = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "m.mlpackage"
            shutil.copytree(zoo / f"{kind}.mlpackage", package)
            for how, where, what in damages:
                damage(package, how, where, what)
            print(json.dumps(attempt(package, shapes[kind])), flush=True)


if __name__ == "__main__":
    main()
