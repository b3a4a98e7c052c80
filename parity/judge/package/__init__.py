"""Gates on the contents of a package, whatever it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch import nn

from parity.build.artifacts import Artifact
from parity.declarations import Stage, Variant
from parity.judge.package import compression, manifest, program
from parity.judge.package.contents import composition, read
from parity.verdict import Finding

__all__ = ["COMPRESSION", "GATES", "INTERFACE", "MANIFEST", "findings", "program"]

INTERFACE, MANIFEST, COMPRESSION = "interface", "manifest", "compression"
GATES = ("alias", "unread", MANIFEST, COMPRESSION, "rounding", "hazard", "parts", "contract", "placement")


def findings(
    package: Path,
    stage: Stage,
    variant: Variant,
    parts: Sequence[Artifact] = (),
    siblings: Sequence[Stage] = (),
    module: Callable[[], nn.Module] | None = None,
) -> Iterator[Finding]:
    """Yield the finding of each gate.

    Args:
        package: The package.
        stage: The stage.
        variant: The variant of the package.
        parts: The artifacts that a pipeline has to be made of, in their order.
        siblings: The stages of all buckets, of a stage in buckets.
        module: Makes the traceable module of the stage, of whose weights those in groups are the rounded form.
    """
    contents = read(package)
    yield manifest.alias(contents)
    yield manifest.unread(contents)
    yield manifest.gate(contents, stage, variant, siblings)
    yield compression.gate(contents, variant, [part.variant for part in parts])
    yield compression.on_units(contents, stage.units(variant))
    if variant.group and module:
        originals = {name: value.detach().numpy() for name, value in module().state_dict().items()}
        yield compression.rounding(compression.in_groups(contents), originals)
    if stage.parts or contents.pipeline:
        yield composition(contents, parts)
