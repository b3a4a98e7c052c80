"""The traced module as a graph that is run node by node, with every value in reach.

It is the very graph that the converter reads, prepared by the converter's own code: so the names are the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from parity.blame.source import place

Settle = Callable[[str, Tensor], Tensor]
"""Gets each computed value with its name, and gives what the nodes after it shall compute with."""


class NodeFailed(Exception):  # noqa: N818 (it is the node that failed)
    """A node of the traced graph can't be computed on these inputs."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(f"{node.kind} {node.name} failed: {reason}")
        self.node = node


@dataclass(frozen=True)
class Node:
    name: str
    kind: str
    reads: tuple[str, ...]
    source_range: str
    raw: Any

    @property
    def op(self) -> str:
        return self.kind.partition("::")[2]

    @property
    def place(self) -> str:
        return place(self.source_range)


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
        self.nodes = [_node(raw) for raw in graph.nodes()]
        self._made = {value.debugName(): node for node in self.nodes for value in node.raw.outputs()}
        self.outputs = self._results([value.debugName() for value in graph.outputs()])
        self.mutates = any(_schema(node).is_mutable for node in self.nodes if node.kind.startswith("aten::"))
        self._last = {name: i for i, node in enumerate(self.nodes) for name in node.reads}

    @property
    def values(self) -> list[str]:
        """Return all computed values that may be tensors, in order."""
        return [name for name, node in self._made.items() if not node.kind.startswith("prim::") or _unpacks(node)]

    def makes(self, name: str) -> Node | None:
        return self._made.get(name)

    def behind(self, name: str) -> frozenset[str]:
        """Return a value and all that it is computed from."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                node = self._made.get(current)
                waiting += node.reads if node else ()
        return frozenset(found)

    def run(self, inputs: Sequence[Tensor], settle: Settle) -> dict[str, Tensor]:
        """Run the graph, and return its outputs by their names. Values are dropped after their last use."""
        env: dict[str, Any] = dict(zip(self.inputs, inputs, strict=True))
        for index, node in enumerate(self.nodes):
            names = [value.debugName() for value in node.raw.outputs()]
            with torch.inference_mode():
                try:
                    results = self._evaluate(node, env)
                except Exception as error:
                    raise NodeFailed(node, str(error).split("\n")[0] or type(error).__name__) from error
                for name, result in zip(names, results, strict=True):
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
        keyed = {argument.name for argument in schema.arguments if argument.kwarg_only}
        named = list(zip((argument.name for argument in schema.arguments), given, strict=True))
        result = call(
            *(value for key, value in named if key not in keyed), **{key: v for key, v in named if key in keyed}
        )
        return result if len(schema.returns) > 1 else (result,)

    def _results(self, names: list[str]) -> list[str]:
        node = self._made.get(names[0]) if len(names) == 1 else None
        return list(node.reads) if node and node.kind == "prim::TupleConstruct" else names


def _node(raw: Any) -> Node:
    names = [value.debugName() for value in raw.outputs()]
    reads = tuple(value.debugName() for value in raw.inputs())
    return Node(names[0] if names else raw.kind(), raw.kind(), reads, raw.sourceRange(), raw)


def _schema(node: Node) -> Any:
    return torch._C.parse_schema(node.raw.schema())


def _unpacks(node: Node) -> bool:
    return node.kind in ("prim::ListUnpack", "prim::TupleUnpack", "prim::ConstantChunk")
