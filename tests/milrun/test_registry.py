"""Every op type that coremltools can write has an implementation, with the parameters that the specification has."""

from __future__ import annotations

import inspect

import pytest
import torch
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

from milrun import ops  # noqa: F401 (registers the ops)
from milrun.compile import BUILT_IN, INTERNAL
from milrun.registry import OPSETS, find, op, op_types, parameters_of

_NEVER_WRITTEN = {"_const_symbolic"}
_OPSET_OF_VERSION = {"iOS13": "iOS15", "iOS14": "iOS15"}


def _versions() -> list[tuple[str, str, set[str]]]:
    """Op type, opset and parameter names, for each opset that an ML program can have."""
    found = []
    for name, versions in sorted(SSAOpRegistry.core_ops.items()):
        for target, definition in versions.items():
            opset = target.name
            if opset in OPSETS:
                found.append((name, opset, set(definition.input_spec.input_types)))
    return found


def test_the_registry_of_coremltools_is_what_this_test_thinks_it_is() -> None:
    assert len(SSAOpRegistry.core_ops) >= 165
    assert {name for name, _, _ in _versions()} >= {"conv", "lstm", "scaled_dot_product_attention"}


def test_every_op_type_is_implemented_in_every_opset_that_has_it() -> None:
    missing = [
        (name, opset)
        for name, opset, _ in _versions()
        if name not in BUILT_IN | _NEVER_WRITTEN and find(name, opset) is None
    ]
    assert missing == []


def test_states_are_written_as_reads_and_writes_which_are_built_in() -> None:
    assert "coreml_update_state" in SSAOpRegistry.dialect_ops
    assert {"read_state", "write_state"} <= BUILT_IN


def test_implementations_take_the_parameters_of_the_specification() -> None:
    wrong = []
    for name, opset, specified in _versions():
        definition = find(name, opset)
        if definition is None or name in BUILT_IN:
            continue
        known = {p.name for p in definition.parameters if p.form is not torch.Generator}
        if not specified <= known:
            wrong.append((name, opset, sorted(specified - known)))
    assert wrong == []


def test_nothing_is_registered_that_the_specification_does_not_have() -> None:
    assert op_types() - set(SSAOpRegistry.core_ops) == INTERNAL


def test_the_newest_version_that_is_not_too_new_serves_an_opset() -> None:
    early, late = find("crop_resize", "iOS15"), find("crop_resize", "iOS18")
    assert early is not None
    assert late is not None
    assert {p.name for p in early.parameters} != {p.name for p in late.parameters}


def test_an_op_can_not_be_registered_twice() -> None:
    relu = find("relu", "iOS15")
    assert relu is not None
    with pytest.raises(ValueError, match="registered twice"):
        op("relu")(relu.run)


def test_a_parameter_without_a_known_form_is_refused() -> None:
    def strange(x: dict[str, int]) -> None: ...

    with pytest.raises(TypeError, match="unknown form"):
        parameters_of(strange)


def test_every_op_annotates_what_it_returns() -> None:
    bare = [
        (name, opset)
        for name, opset, _ in _versions()
        if (definition := find(name, opset))
        and inspect.signature(definition.run).return_annotation is inspect.Signature.empty
    ]
    assert bare == []
