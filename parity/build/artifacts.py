"""Artifacts: built into the cache under a key of everything that made them, or built by someone else."""

from __future__ import annotations

import filecmp
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from milrun.package import Package
from parity.base.cache import Cache
from parity.base.fingerprint import code, digest
from parity.base.libraries import versions
from parity.build.convert import compress, convert, join, traceable
from parity.build.palettes import Palettes, clustered
from parity.build.program import PROGRAM, quantized, write
from parity.declarations import Stage, System, Variant
from parity.plan.weights import Weights

PACKAGE = "model.mlpackage"
FACTS = "parity."


class ArtifactError(Exception):
    """Missing artifact, or one that is not the one that was to be checked."""


@dataclass(frozen=True)
class Artifact:
    """A built package, or a program of which the stage is a method.

    `identity` is the digest of what it holds or of what made it.
    """

    stage: Stage
    variant: Variant
    package: Path
    identity: str


class Built:
    """Builds what is asked for, once; the next time it lies in the cache."""

    def __init__(self, system: System, weights: Weights, cache: Cache) -> None:
        self.system = system
        self.weights = weights
        self.cache = cache
        self._keys: dict[tuple[str, str, int | None], str] = {}
        self._code = lru_cache(None)(code)

    @cached_property
    def _common(self) -> dict[str, Any]:
        return {
            **self._upstream_parts,
            "harness": code(convert, compress, traceable, clustered),
            "libraries": versions("coremltools", "numpy", "numba", "scikit-learn", *self.system.reference.packages),
        }

    @cached_property
    def _upstream_parts(self) -> dict[str, Any]:
        return {"weights": dict(self.weights.identity), "upstream": code(self.system.reference.build)}

    def _methods(self, variant: Variant) -> list[tuple[Stage, Variant]]:
        """Return the stages that are methods of a program, each with its variant."""
        pairs = ((stage, own) for stage in self.system.stages for own in stage.variants)
        return [(stage, own) for stage, own in pairs if (own.name, own.format) == (variant.name, variant.format)]

    def _module(self, stage: Stage) -> nn.Module:
        return traceable(stage, self.weights.model(self.system.reference.build))

    def parts(self, stage: Stage, variant: Variant) -> dict[str, Any]:
        """Return everything that made an artifact."""
        declared = _declared(stage, variant)
        if variant.format == "pte":
            methods = {
                one.name: {**_declared(one, own), "module": self._code(one.module)}
                for one, own in self._methods(variant)
            }
            libs = versions("executorch", "torch", "torchao", *self.system.reference.packages)
            harness, contract = code(write, traceable, quantized), dict(self.system.contract)
            made = {"harness": harness, "libraries": libs, "contract": contract}
            return {**self._upstream_parts, **made, "methods": methods}
        if stage.parts:
            keys = {part.name: self.key(part, own) for part, own in composed(self.system, stage, variant)}
            made = {"order": list(keys), "harness": code(join), "libraries": versions("coremltools")}
            return {**declared, **made, "parts": keys}
        return {**self._common, **declared, "module": self._code(stage.module)}

    def key(self, stage: Stage, variant: Variant) -> str:
        name = stage.name, variant.name, stage.bucket
        if name not in self._keys:
            each = [one for one in each_bucket(stage) if one is not stage]
            keys = {f"{one.bucket}": self.key(one, variant) for one in each}
            self._keys[name] = digest(keys or self.parts(stage, variant))
        return self._keys[name]

    def ready(self, stage: Stage, variant: Variant) -> bool:
        return self.cache.has("artifact", self.key(next(each_bucket(stage)), variant))

    def get(self, stage: Stage, variant: Variant) -> Artifact:
        """Return an artifact, built if need be; of a stage in several buckets, that of the first."""
        stage = next(each_bucket(stage))
        parts = self.parts(stage, variant)
        key = digest(parts)

        def make(folder: Path) -> None:
            facts = facts_of(self.system, stage, variant, self.weights.identity)
            if variant.format == "pte":
                methods = self._methods(variant)
                modules = {one.name: quantized(self._module(one), one, own) for one, own in methods}
                write([one for one, _ in methods], modules, folder / PROGRAM, facts, self.system.contract)
            elif stage.parts:
                packages = {piece.stage.name: piece.package for piece in pieces(self.system, self, stage, variant)}
                join(stage, packages, folder / PACKAGE, facts)
            elif variant.compressed:
                source = self.get(stage, uncompressed(stage, variant)).package
                compress(variant, source, folder / PACKAGE, facts, Palettes(self.cache))
            else:
                convert(stage, variant, self._module(stage), folder / PACKAGE, facts)
            self._share(folder, stage, variant)

        name = PROGRAM if variant.format == "pte" else PACKAGE
        return Artifact(stage, variant, self.cache.get("artifact", key, make, parts) / name, key)

    def _share(self, folder: Path, stage: Stage, variant: Variant) -> None:
        """Make files that another bucket has byte for byte, such as the weights, links to these."""
        if stage.bucket is None:
            return
        for other in each_bucket(self.system.stage(stage.name)):
            if other.bucket == stage.bucket or not (found := self.cache.find("artifact", self.key(other, variant))):
                continue
            for path in filter(Path.is_file, folder.rglob("*")):
                same = found / path.relative_to(folder)
                if same.is_file() and not path.samefile(same) and filecmp.cmp(path, same, shallow=False):
                    path.unlink()
                    path.hardlink_to(same)


class Given:
    """Packages that someone else built, `DIR/<stage>-<variant>.mlpackage` or as the variant says it is published.

    A program of ExecuTorch is `DIR/<variant>.pte`.

    A package that says which weights it was made from must say the ones that the goldens were recorded with.
    """

    def __init__(self, system: System, weights: Weights, folder: Path) -> None:
        if not folder.is_dir():
            raise ArtifactError(f"--artifacts {folder}: no such folder")
        self.system, self.weights, self.folder = system, weights, folder

    def key(self, stage: Stage, variant: Variant) -> str:
        there = [one for one in each_bucket(stage) if one is not stage and given(self.folder, one, variant).exists()]
        if there:
            return digest({f"{one.bucket}": self.key(one, variant) for one in there})
        package = given(self.folder, stage, variant)
        if not package.exists():
            raise ArtifactError(
                f"{self.system.name}/{stage.name} {variant.name}: {package} is missing. Build it, or leave out "
                "--artifacts to have it converted"
            )
        parts = {part.name: self.key(part, own) for part, own in composed(self.system, stage, variant)}
        return digest({"files": _contents(package), **_declared(stage, variant), "parts": parts})

    def ready(self, stage: Stage, variant: Variant) -> bool:
        return True

    def get(self, stage: Stage, variant: Variant) -> Artifact:
        artifact = Artifact(stage, variant, given(self.folder, stage, variant), self.key(stage, variant))
        promised = facts_of(self.system, stage, variant, self.weights.identity)
        wrong = [
            f"{name.removeprefix(FACTS)} is {told}, not {promised[name]}"
            for name, told in told_by(artifact.package).items()
            if name in promised and told != promised[name]
        ]
        if wrong:
            raise ArtifactError(
                f"{artifact.package} is not what the goldens describe: {'; '.join(wrong)}. Build it again"
            )
        return artifact


Artifacts = Built | Given


def each_bucket(stage: Stage) -> Iterator[Stage]:
    """Yield the stage of each artifact: of each bucket, or itself where it has one artifact."""
    if stage.bucket is None and stage.buckets and not stage.enumerated:
        yield from map(stage.at, stage.buckets)
    else:
        yield stage


def given(folder: Path, stage: Stage, variant: Variant) -> Path:
    """Return where a package that somebody else built lies, or would lie, in a folder."""
    program, stage = variant.format == "pte", next(each_bucket(stage))
    name = stage.name if stage.enumerated or stage.bucket is None else f"{stage.name}_{stage.bucket}"
    usual = folder / (f"{variant.name}.pte" if program else f"{name}-{variant.name}.mlpackage")
    published = folder / variant.published
    return published if variant.published and published.exists() and not usual.exists() else usual


def composed(system: System, stage: Stage, variant: Variant) -> Iterator[tuple[Stage, Variant]]:
    """Yield the (stage, variant) pairs of a pipeline: each part's variant of the same name, or its only one."""
    for name in stage.parts:
        part = system.stage(name)
        if part.parts:
            raise ArtifactError(f"{system.name}/{stage.name}: {name} is a pipeline itself; name the parts of that")
        only = part.variants[0].name if len(part.variants) == 1 else variant.name
        yield part, part.variant(only)


def _declared(stage: Stage, variant: Variant) -> dict[str, Any]:
    """Return the declarations of an artifact, by which it is judged."""
    return {
        "stage": {
            # In their order: a module takes and gives its tensors by place.
            "inputs": [[name, _plain(asdict(tensor))] for name, tensor in stage.inputs.items()],
            "outputs": [[name, _plain(asdict(tensor))] for name, tensor in stage.outputs.items()],
            "trace_at": dict(stage.trace_at),
            "compute_units": stage.units(variant),
            "target": variant.target or stage.target,
        },
        "variant": {
            "precision": variant.precision,
            "palettize": variant.palettize,
            "quantize": variant.quantize and [list(variant.spared), variant.zero_points, variant.fewest],
            "prune": variant.prune,
            **(
                {"group": variant.group, "tables": variant.tables, "portable": stage.portable}
                if variant.format == "pte"
                else {}
            ),
            **({"group": [variant.group, variant.fewest]} if variant.group and variant.format != "pte" else {}),
            "held": stage.held(variant),
        },
    }


def pieces(system: System, artifacts: Artifacts, stage: Stage, variant: Variant) -> list[Artifact]:
    """Return the artifacts of a pipeline's parts, in their order; none for another stage."""
    return [artifacts.get(part, own) for part, own in composed(system, stage, variant)]


def facts_of(system: System, stage: Stage, variant: Variant, identity: Mapping[str, str]) -> dict[str, str]:
    """Return the facts about its making that a package remembers."""
    told = {"system": system.name, "stage": stage.name, "variant": variant.name, "weights": json.dumps(dict(identity))}
    if variant.format == "pte":
        del told["stage"]
    return {f"{FACTS}{name}": value for name, value in told.items()}


def told_by(package: Path) -> dict[str, str]:
    """Return the facts in a package's metadata; none if a foreign tool made it.

    Reading those of a program takes ExecuTorch: `parity.judge.program` compares them.
    """
    if package.suffix == ".pte":
        return {}
    metadata = Package(package).spec().description.metadata.userDefined
    return {name: value for name, value in metadata.items() if name.startswith(FACTS)}


def uncompressed(stage: Stage, variant: Variant) -> Variant:
    """Return the variant from which a compressed one is made: a declared one if there is, else an intermediate one."""
    plain = Variant(variant.precision, variant.precision, holds=variant.holds, target=variant.target)
    for known in stage.variants:
        if replace(known, name=plain.name, ships=False, published="", unchained="", replayed="") == plain:
            return known
    return plain


def _contents(package: Path) -> dict[str, str]:
    found = {}
    for path in sorted(package.rglob("*")) if package.is_dir() else (package,):
        if path.is_file():
            with path.open("rb") as file:
                found[path.relative_to(package).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        told = {name: item for name, item in value.items() if (name, item) != ("buckets", ()) and name != "common"}
        return {name: _plain(item) for name, item in told.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
