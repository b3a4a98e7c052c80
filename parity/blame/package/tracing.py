"""The traced module as a graph that is run node by node, with every value in reach.

It is the very graph that the converter reads, prepared by the converter's own code: so the names are the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parity.blame.package.names import closure
from parity.blame.source import frames, told

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

    def behind(self, name: str) -> set[str]:
        """Return a value and all that it is computed from."""
        return closure([name], lambda name: self._made[name].reads if name in self._made else ())

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
