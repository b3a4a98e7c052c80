"""The traced module as a graph that is run node by node, with every value in reach.

It is the very graph that the converter reads, prepared by the converter's own code: so the names are the same. A
constant that tracing froze shows beside a graph of the same module, traced on other examples. The names of values are
the package's as well, in the converter's own spelling.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parity.blame.source import frames, told

_CAST = re.compile(r"(_cast_fp(16|32)|_to_fp(16|32))+$")
Settle = Callable[[str, Tensor], Tensor]
"""Gets each computed value with its name, and gives what the nodes after it shall compute with."""
PACKS, UNPACKS = ("prim::TupleConstruct", "prim::ListConstruct"), ("prim::TupleUnpack", "prim::ListUnpack")


class NodeFailed(Exception):  # noqa: N818 (it is the node that failed)
    """A node of the traced graph can't be computed on these inputs."""


class Node:
    """A node of the traced graph, with the names of its arguments and of its results."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.kind: str = raw.kind()
        self.reads = tuple(value.debugName() for value in raw.inputs())
        self.results = tuple(value.debugName() for value in raw.outputs())

    @property
    def name(self) -> str:
        return self.results[0] if self.results else self.kind

    @property
    def op(self) -> str:
        return self.kind.partition("::")[2]

    @property
    def place(self) -> str:
        return told(frames(self.raw.sourceRange()))


class TracedGraph:
    def __init__(self, module: nn.Module, examples: Sequence[Tensor]) -> None:
        with warnings.catch_warnings(), torch.no_grad():  # gradients would keep every value alive
            warnings.simplefilter("ignore")
            trace: Any = torch.jit.trace  # without types of its own
            self._traced = trace(module, tuple(examples), strict=False, check_trace=False)
            from coremltools.converters.mil.frontend.torch.torchscript_utils import _expand_and_optimize_ir

            graph, self.parameters, _ = _expand_and_optimize_ir(self._traced)
        self._graph = graph
        self.inputs = [value.debugName() for value in graph.inputs()][1:]
        self.nodes = [Node(raw) for raw in graph.nodes()]
        self._made = {name: node for node in self.nodes for name in node.results}
        ends = [value.debugName() for value in graph.outputs()]
        packed = self._made.get(ends[0]) if len(ends) == 1 else None
        self.outputs = list(packed.reads) if packed and packed.kind == "prim::TupleConstruct" else ends
        self.mutates = any(_schema(node).is_mutable for node in self.nodes if node.kind.startswith("aten::"))
        self._last = {name: i for i, node in enumerate(self.nodes) for name in node.reads}

    @property
    def values(self) -> list[str]:
        """Return all computed values that may be tensors, in order."""
        kept = (*UNPACKS, "prim::ConstantChunk")
        return [name for name, node in self._made.items() if not node.kind.startswith("prim::") or node.kind in kept]

    def makes(self, name: str) -> Node | None:
        return self._made.get(name)

    def before(self, name: str) -> Sequence[str]:
        """Return the values that a value is made of."""
        return self._made[name].reads if name in self._made else ()

    def run(self, inputs: Sequence[Tensor], settle: Settle) -> dict[str, Tensor]:
        """Run the graph, and return its outputs by their names. Values are dropped after their last use."""
        env: dict[str, Any] = dict(zip(self.inputs, inputs, strict=True))
        for index, node in enumerate(self.nodes):
            with torch.inference_mode():
                try:
                    results = self._evaluate(node, env)
                except Exception as error:
                    reason = str(error).split("\n")[0] or type(error).__name__
                    raise NodeFailed(f"{node.kind} {node.name} failed: {reason}") from error
                for name, result in zip(node.results, results, strict=True):
                    computed = isinstance(result, Tensor) and node.kind not in ("prim::Constant", "prim::GetAttr")
                    env[name] = settle(name, result) if computed else result
            for name in node.reads:
                if self._last[name] == index and name not in self.outputs:
                    env.pop(name, None)
        return {name: env[name] for name in self.outputs}

    def _evaluate(self, node: Node, env: dict[str, Any]) -> Sequence[Any]:
        if node.kind == "prim::Constant":
            return (node.raw.output().toIValue(),)
        if node.kind == "prim::GetAttr":
            return (self.parameters.get(node.name),)
        given = [env[name] for name in node.reads]
        match node.kind:
            case "prim::ListConstruct":
                return (given,)
            case "prim::TupleConstruct":
                return (tuple(given),)
            case "prim::ListUnpack" | "prim::TupleUnpack":
                return list(given[0])
            case "prim::NumToTensor":
                return (torch.tensor(given[0]),)
            case "prim::ConstantChunk":
                return torch.chunk(given[0], node.raw.i("chunks"), node.raw.i("dim"))
        schema = _schema(node)
        space, _, name = schema.name.partition("::")
        call = getattr(getattr(getattr(torch.ops, space), name), schema.overload_name or "default")
        taken = list(zip(schema.arguments, given, strict=True))
        by_name = {argument.name: value for argument, value in taken if argument.kwarg_only}
        result = call(*(value for argument, value in taken if not argument.kwarg_only), **by_name)
        return result if len(schema.returns) > 1 else (result,)


def _schema(node: Node) -> Any:
    return torch._C.parse_schema(node.raw.schema())


def frozen(graph: TracedGraph, fresh: TracedGraph) -> tuple[Node, str] | None:
    """Return the first node that differs from that of another trace of the module, and a sentence about it."""
    for node, other in zip(graph.nodes, fresh.nodes, strict=False):
        if node.kind != other.kind:
            return node, f"traced on these inputs, the module computes {other.kind} here instead of {node.kind}"
        if node.kind == "prim::Constant":
            value, now = node.raw.output().toIValue(), other.raw.output().toIValue()
            if differ(value, now):
                return _reader(graph, node), f"tracing froze {_told(value, now)}"
    return None


def _reader(graph: TracedGraph, constant: Node) -> Node:
    """Return the first node that computes with a constant, through the lists that it is put into."""
    names = {constant.name}
    for node in graph.nodes:
        if names.intersection(node.reads):
            if not node.kind.startswith("prim::"):
                return node
            names.add(node.name)
    return constant


def differ(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return not torch.equal(one, other)
    return bool(one != other)


def _told(value: Any, now: Any) -> str:
    if not isinstance(value, Tensor) or not isinstance(now, Tensor):
        return f"{value!r} where these inputs give {now!r}"
    if value.shape == now.shape:
        return f"the numbers of a tensor of shape {tuple(value.shape)}, which another trace has otherwise"
    return f"a tensor of shape {tuple(value.shape)} where these inputs give {tuple(now.shape)}"


def spelled(torch_name: str) -> str:
    """Return a name of torch's graph as the converter writes it: a number becomes var_<n>, a dot an underscore."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", torch_name)
    return name if re.match(r"[A-Za-z_]", name) else f"var_{name}"


def plain(package_name: str) -> str:
    """Return a name of the package without what the converter's passes put around it."""
    name = _CAST.sub("", package_name)
    return spelled(name.removeprefix("_inversed_"))


def matching(torch_names: Iterable[str], package_names: Iterable[str]) -> dict[str, str]:
    """Return, for each name of torch's graph, the first value of the package that bears it, if unambiguous."""
    torch_names = list(torch_names)
    told = Counter(spelled(name) for name in torch_names)
    first: dict[str, str] = {}
    for name in package_names:
        first.setdefault(plain(name), name)
    return {name: first[spelled(name)] for name in torch_names if spelled(name) in first and told[spelled(name)] == 1}


def closure(names: Iterable[str], before: Callable[[str], Iterable[str]]) -> set[str]:
    """Return some values, and all that they are made of; `before` gives those that one is made of directly."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += before(name)
    return found
