"""Constants that tracing made: the module traced at other sizes, or another time, has another number there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from parity.blame.package.failure import Failure
from parity.blame.package.tracing import Node, TracedGraph


def find(failure: Failure) -> tuple[Node, str] | None:
    """Return the first node that differs when the same module is traced on these inputs, and a sentence about it."""
    fresh = TracedGraph(failure.module, failure.tensors)
    for node, other in zip(failure.graph.nodes, fresh.nodes, strict=False):
        if node.kind != other.kind:
            return node, f"traced on these inputs, the module computes {other.kind} here instead of {node.kind}"
        if node.kind != "prim::Constant":
            continue
        value, now = node.raw.output().toIValue(), other.raw.output().toIValue()
        if _differ(value, now):
            return _reader(failure.graph, node), f"tracing froze {_told(value, now)}"
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


def _differ(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.shape != other.shape or not torch.equal(value, other)
    return bool(value != other)


def _told(value: Any, now: Any) -> str:
    if not isinstance(value, Tensor) or not isinstance(now, Tensor):
        return f"{value!r} where these inputs give {now!r}"
    if value.shape == now.shape:
        return f"the numbers of a tensor of shape {tuple(value.shape)}, which another trace has otherwise"
    return f"a tensor of shape {tuple(value.shape)} where these inputs give {tuple(now.shape)}"
