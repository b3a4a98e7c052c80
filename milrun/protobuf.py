"""The protobuf classes of the Core ML model format, as coremltools carries them.

Importing coremltools itself takes seconds and loads every converter, so its generated classes are imported by
themselves. protobuf keeps one class per message type: both ways of importing give the same classes.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from typing import Any

from milrun.errors import ModelError

MAX_DEPTH = 32
"""Depth to which blocks, types and values may nest. Converters write two or three levels."""

OPSET_NAMES = {"CoreML5": "iOS15", "CoreML6": "iOS16", "CoreML7": "iOS17", "CoreML8": "iOS18", "CoreML9": "iOS26"}

_ALIAS = "milrun._coreml_proto"


@cache
def model_class() -> Any:
    """The class of the message ``CoreML.Specification.Model``."""
    if "coremltools" in sys.modules:
        return importlib.import_module("coremltools.proto.Model_pb2").Model
    found = importlib.util.find_spec("coremltools")
    if found is None or not found.submodule_search_locations:
        raise ModelError("coremltools is not installed: it carries the definition of the model format")
    spec = importlib.util.spec_from_file_location(
        _ALIAS,
        f"{found.submodule_search_locations[0]}/proto/__init__.py",
        submodule_search_locations=[f"{found.submodule_search_locations[0]}/proto"],
    )
    assert spec is not None
    sys.modules.setdefault(_ALIAS, importlib.util.module_from_spec(spec))
    return importlib.import_module(f"{_ALIAS}.Model_pb2").Model


@cache
def program_class() -> Any:
    """The class of the message ``CoreML.Specification.MILSpec.Program``."""
    return model_class().DESCRIPTOR.fields_by_name["mlProgram"].message_type._concrete_class
