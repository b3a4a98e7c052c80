"""Stages: the deployable graphs of a system, their tensors, and the variants in which they ship."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

Arrays = Mapping[str, np.ndarray]
"""Tensors by name."""

Precision = Literal["float32", "float16"]
Kind = Literal[
    "features",
    "logits",
    "durations",
    "pitch",
    "audio",
    "stream",
    "cache",
    "counter",
    "margin",
    "speakers",
    "diarization",
    "kept",
    "segments",
]
"""Meaning of a tensor's numbers, which decides its metrics (see `docs/gates.md`).

`logits` are scores along the last axis, of which the best are chosen or sampled. `stream` is audio that a stepped stage
gives frame by frame. `cache` and `counter` are carried from step to step.
`margin` is the distance of a value from the threshold of a decision. `speakers` are probabilities, a column for each
speaker; `diarization` are those of a whole meeting. `kept` are the frames that a cache keeps. `segments` are stretches
of speech: rows of first and last sample, and of negative values behind the last stretch.
"""

AUDIBLE: tuple[Kind, ...] = ("audio", "stream")
ComputeUnits = Literal["ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"]
Format = Literal["mlpackage", "pte"]
"""Form of an artifact. Core ML and milrun run an `mlpackage`, ExecuTorch the methods of a `pte`."""
METADATA = "parity"
"""Name of the method of a `pte` that returns, as JSON, the names of inputs and outputs, and facts about the making."""

CHAIN, MODULE, SHIPS, GLUE = "chain", "module", "ships", "glue"
HOST = "host"
"""The name under which the host code's own decisions are recorded, in place of a stage."""
ALL, SHORT = "all", "short"
"""In place of a case: every case, or the short ones."""
RESERVED = {"stage": (CHAIN, HOST, "retired"), "variant": (MODULE, SHIPS, GLUE), "case": (ALL, SHORT)}
"""Names that gates, golden files and options use for something else."""


def refuse_reserved(kind: str, name: str) -> None:
    """Raise a ValueError for a reserved name of a stage, variant or case, or for a dot in one of the first two."""
    if name in RESERVED[kind]:
        names = ", ".join(RESERVED[kind])
        raise ValueError(f"{kind} {name!r}: this name is reserved, as are all of {names}. Rename the {kind}")
    if "." in name and kind != "case":
        raise ValueError(f"{kind} {name!r}: a dot separates the names in gates.toml. Rename the {kind}")


@dataclass(frozen=True)
class Dim:
    """Dynamic size of a tensor: `scale * name + offset`.

    Attributes:
        name: Name of the dimension; tensors of a stage that use the same name have related sizes.
        low: Smallest value of `name`.
        high: Largest value of `name`.
        scale: Factor of `name`.
        offset: Addend.
        buckets: The only values that artifacts have, ascending. The host takes the smallest that holds its input and
            fills it up with zeros, and of the outputs only the valid part counts.

    Example:
        `600 * Dim("frames", 1, 2000) + 1` is the size of a waveform of 600 samples for each frame, and one more.
    """

    name: str
    low: int
    high: int
    scale: int = 1
    offset: int = 0
    buckets: tuple[int, ...] = ()

    def __rmul__(self, factor: int) -> Dim:
        return replace(self, scale=self.scale * factor, offset=self.offset * factor)

    def __add__(self, offset: int) -> Dim:
        return replace(self, offset=self.offset + offset)

    def at(self, value: int) -> int:
        """Return the size for a value of the dimension."""
        return self.scale * value + self.offset

    def __str__(self) -> str:
        scaled = self.name if self.scale == 1 else f"{self.scale}·{self.name}"
        return f"{scaled}+{self.offset}" if self.offset else scaled


@dataclass(frozen=True)
class Tensor:
    """Input or output of a stage.

    Attributes:
        dtype: Type of the values; "real" is the precision of the variant.
        shape: Size of each axis, fixed or dynamic.
        kind: Meaning of the numbers, which decides the metrics.
        slots: Axis of a cache along which each step writes a few slots; None if it is not such a cache.
        rate: Rows per second, if this is not the system's sample rate.

    Example:
        `Tensor("real", (1, 128, Dim("frames", 1, 2000)))`, or shorter `real(1, 128, FRAMES)`.
    """

    dtype: Literal["real", "float16", "float32", "int32"]
    shape: tuple[int | Dim, ...]
    kind: Kind = "features"
    slots: int | None = None
    rate: float | None = None

    def dtype_in(self, variant: Variant) -> str:
        """Return the type of the values in a variant."""
        return variant.precision if self.dtype == "real" else self.dtype

    def sizes(self, bindings: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape for these values of the dimensions."""
        return tuple(size.at(bindings[size.name]) if isinstance(size, Dim) else size for size in self.shape)

    def bind(self, shape: tuple[int, ...], bindings: dict[str, int]) -> str | None:
        """Read the values of the dimensions off an actual shape.

        Args:
            shape: The actual shape.
            bindings: Values by name of the dimension; new ones are added.

        Returns:
            A sentence about the first axis that does not fit, or None.
        """
        if len(shape) != len(self.shape):
            return f"rank {len(shape)} where {len(self.shape)} is declared"
        for axis, (declared, actual) in enumerate(zip(self.shape, shape, strict=True)):
            if not isinstance(declared, Dim):
                if declared != actual:
                    return f"axis {axis} is {actual} where {declared} is declared"
                continue
            value, rest = divmod(actual - declared.offset, declared.scale)
            known = bindings.setdefault(declared.name, value)
            if rest or known != value:
                return f"axis {axis} is {actual} where {declared} is {declared.at(known)}"
            if not declared.low <= value <= declared.high:
                return f"axis {axis}: {declared.name} is {value}, outside {declared.low} to {declared.high}"
        return None


def real(*shape: int | Dim, kind: Kind = "features", slots: int | None = None) -> Tensor:
    """Return a tensor in the precision of the variant."""
    return Tensor("real", shape, kind, slots)


def f32(*shape: int | Dim, kind: Kind = "features") -> Tensor:
    """Return a tensor of float32 in every variant."""
    return Tensor("float32", shape, kind)


def i32(*shape: int | Dim, kind: Kind = "features") -> Tensor:
    """Return a tensor of int32."""
    return Tensor("int32", shape, kind)


@dataclass(frozen=True)
class Variant:
    """One way to ship a stage. Exactly one variant of a stage ships.

    Attributes:
        name: Name of the variant, such as "fp16-pal8". It has no dot, and is not "module", "ships" or "glue".
        precision: Precision in which the artifact computes.
        palettize: Bits of each palettized weight; None for weights that are not palettized.
        ships: True for the variant that the app ships.
        quantize: True to keep weights as int8.
        spared: Submodules whose weights `quantize` leaves alone.
        holds: True to keep carried floating-point values in Core ML states instead of inputs and outputs.
        compute_units: Compute units, if the variant cannot run on those of its stage.
        published: Name of the file that the variant is published as, which `--artifacts` also looks for.
        zero_points: True for int8 weights with an offset per output channel beside its scale.
        fewest: Elements that a weight has at least for `quantize` or `group` to take it, in a package.
        prune: Magnitude below which weights are set to zero, in tensors of which these are at least half; they are
            then stored sparse. Other tensors are palettized or quantized as the variant says.
        format: What the variant is built as, and so which runtimes run it. All stages with a variant of one name and of
            the format `pte` are methods of one program, named as the stages are.
        group: Values along a row that share a scale in the int4 weights of linear layers; it divides every row. Of a
            `pte`, the inputs of these layers are quantized to int8 as they come (8da4w). A package needs the target
            iOS18. None for linear layers as they are.
        tables: Of a `pte`: bits of embeddings. With 4, 32 values share a scale; with 8, those of a row.
        target: Minimum deployment target, if the variant needs a newer one than its stage.
        unchained: Reason for which no chain of this variant is run, such as decisions that no bound can judge. The
            report shows it. A variant may ship unchained: its stages are judged one by one, and the host code on
            upstream's values; there is no chain to time or to listen to.
        replayed: Reason for which outputs are compared with those of `Stage.replay`, in place of upstream's, such as a
            graph that makes decisions one after the other: one other decision changes all that follow. The report shows
            it. Only for uncompressed packages and for programs.

    Example:
        `Variant("fp16-pal8", "float16", palettize=8, ships=True)`
    """

    name: str
    precision: Precision
    palettize: int | None = None
    ships: bool = False
    quantize: bool = False
    spared: tuple[str, ...] = ()
    holds: bool = False
    compute_units: ComputeUnits | None = None
    published: str = ""
    zero_points: bool = False
    fewest: int = 1
    prune: float | None = None
    format: Format = "mlpackage"
    group: int | None = None
    tables: Literal[4, 8] | None = None
    target: str = ""
    unchained: str = ""
    replayed: str = ""

    def __post_init__(self) -> None:
        """Refuse ways of compression that the format does not have."""
        program = self.format == "pte"
        foreign = ("palettize", "quantize", "prune", "holds") if program else ("tables",)
        if wrong := [name for name in foreign if getattr(self, name)]:
            raise ValueError(
                f"variant {self.name}: a variant of the format {self.format} does not take {' or '.join(wrong)}"
            )
        if program and self.group is not None and (self.group < 32 or self.group % 32):
            raise ValueError(f"variant {self.name}: group={self.group}; XNNPACK takes multiples of 32")
        if self.group is not None and self.group < 1:
            raise ValueError(f"variant {self.name}: group={self.group}; a group has one value or more")
        if self.group and (self.quantize or self.palettize or self.spared or self.zero_points):
            raise ValueError(
                f"variant {self.name}: group={self.group} makes weights int4; it does not go with quantize, palettize, "
                "spared or zero_points"
            )
        if self.replayed and self.compressed:
            raise ValueError(f"variant {self.name}: replayed, and a package's compressed weights have no module")
        if self.tables not in (None, 4, 8):
            raise ValueError(f"variant {self.name}: tables={self.tables}; ExecuTorch has kernels for 4 and 8 bits")

    @property
    def compressed(self) -> bool:
        """True if the weights are stored in another form than the precision's own."""
        return bool(self.palettize or self.quantize or self.prune or (self.group and self.format == "mlpackage"))


@dataclass(frozen=True)
class Stage:
    """One deployable graph.

    Attributes:
        name: Name of the stage, unique in its system. It has no dot, and is not "chain", "host" or "retired".
        module: Makes the traceable module from the built reference. Its forward takes the inputs in their order and
            returns the outputs in theirs.
        inputs: Declared inputs by name.
        outputs: Declared outputs by name.
        variants: The ways to ship it.
        trace_at: Values of the dynamic dimensions for tracing. A dimension with buckets that it names is traced once at
            this size, and converted for each bucket; otherwise each bucket is traced at its own.
        compute_units: Compute units on which it runs as deployed.
        target: Minimum deployment target.
        parts: Stages whose artifacts this stage joins into a Core ML pipeline; its `module` is then only compared with
            the reference.
        aside: True for a stage that computes the same as others on the path. The chain runs it for comparison, and its
            time does not count.
        enumerated: True if one artifact takes all sizes of a dimension with buckets; otherwise each size has its own.
        bucket: The bucket of an artifact; None for the stage with all of them. See `at`.
        whole: The stage with all its buckets, for a stage of one.
        common: The largest bucket that every run probes; larger ones take long, and only a run of all cases probes
            them. None if every run probes all.
        stepped: True for a stage that runs step by step; its golden holds every step (see `parity.steps`).
        carries: Outputs that are inputs of the next step, such as a cache or a position: output → input.
        derived: Values that decisions depend on, such as the distance of a logit from its threshold.
        derive: Computes the `derived` values from the outputs of one step, the artifact's and upstream's alike.
            So a mistake in it only shows in what the host decides by them.
        fixed: Reasons for inputs that have the same value in every case, by name; without one, such an input fails.
        resize: Corrects inputs that were repeated or cut to other sizes, where sizes and values belong together, such
            as durations that add up to the frames. Returns the corrected ones.
        within: Stage of which this one is a part, for a stage in `System.inner`.
        replay: Makes the module that answers after the decisions of an artifact, for a variant that is `replayed`. Its
            forward takes the inputs and then the outputs of the stage, and returns each output as the traceable module
            gives it after the artifact's earlier ones. Weights are in the form of the variant.
        portable: True for a stage that a `.pte` runs in portable kernels alone. A lookup gains nothing from a backend,
            and is lowered sooner without one.

    Example:
        `Stage("encoder", Encoder, {"mel": MEL}, {"hidden": HIDDEN}, VARIANTS, trace_at={"frames": 32})`
    """

    name: str
    module: Callable[[Any], torch.nn.Module]
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    variants: tuple[Variant, ...]
    trace_at: Mapping[str, int] = field(default_factory=dict)
    compute_units: ComputeUnits = "ALL"
    target: str = "iOS17"
    parts: tuple[str, ...] = ()
    aside: bool = False
    enumerated: bool = False
    bucket: int | None = None
    whole: Stage | None = None
    common: int | None = None
    stepped: bool = False
    carries: Mapping[str, str] = field(default_factory=dict)
    derived: Mapping[str, Tensor] = field(default_factory=dict)
    derive: Callable[[Arrays], Arrays] = lambda outputs: {}
    fixed: Mapping[str, str] = field(default_factory=dict)
    resize: Callable[[Arrays, Mapping[str, int]], Arrays] = lambda inputs, sizes: {}
    within: str = ""
    replay: Callable[[Any], torch.nn.Module] | None = None
    portable: bool = False

    def __post_init__(self) -> None:
        """Refuse reserved names, and variants that the stage cannot have."""
        refuse_reserved("stage", self.name)
        for variant in self.variants:
            refuse_reserved("variant", variant.name)
            if variant.replayed and (self.replay is None or self.carries):
                why = "it carries values from step to step" if self.carries else "it declares no `replay`"
                raise ValueError(f"stage {self.name}: {variant.name} is replayed, and {why}")
            target = variant.target or self.target
            if variant.group and variant.format == "mlpackage" and target in ("iOS15", "iOS16", "iOS17"):
                raise ValueError(
                    f"stage {self.name}: {variant.name} has weights in groups, and {target} does not know them; "
                    'give the variant target="iOS18"'
                )

    def variant(self, name: str) -> Variant:
        """Return the variant of a name, or raise a ValueError that lists the known ones."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.variants)
        raise ValueError(f"stage {self.name} has no variant {name!r}; it has {known}")

    def held(self, variant: Variant) -> dict[str, str]:
        """Return the values that a variant keeps in Core ML states, output → input. States cannot hold integers."""
        carried = {name: source for name, source in self.carries.items() if self.inputs[source].dtype != "int32"}
        return carried if variant.holds else {}

    @property
    def buckets(self) -> tuple[int, ...]:
        """The sizes in which the stage is built; none for a stage of any size, or of one."""
        dims = (size for tensor in self.inputs.values() for size in tensor.shape if isinstance(size, Dim))
        return next((dim.buckets for dim in dims if dim.buckets), ())

    def at(self, bucket: int) -> Stage:
        """Return the stage of one bucket: its sizes are fixed, unless one artifact takes them all."""
        if self.enumerated:
            return replace(self, bucket=bucket)

        def fixed(tensor: Tensor) -> Tensor:
            shape = (size.at(bucket) if isinstance(size, Dim) and size.buckets else size for size in tensor.shape)
            return replace(tensor, shape=tuple(shape))

        inputs = {name: fixed(tensor) for name, tensor in self.inputs.items()}
        outputs = {name: fixed(tensor) for name, tensor in self.outputs.items()}
        return replace(self, inputs=inputs, outputs=outputs, bucket=bucket, whole=self)

    def family(self, output: str) -> str:
        """Return the gate name for an output.

        Carried outputs of several layers (`cache0_out`, `cache1_out`, …) share one name, `cache*`.
        """
        return f"{output.removesuffix('_out').rstrip('0123456789')}*" if output in self.carries else output

    def units(self, variant: Variant) -> ComputeUnits:
        """Return the compute units of a variant."""
        return variant.compute_units or self.compute_units

    @property
    def decided(self) -> dict[str, Tensor]:
        """Values that the host code decides at this stage: inputs of the kind `durations`, and `derived` values."""
        inputs = {name: tensor for name, tensor in self.inputs.items() if tensor.kind == "durations"}
        return {**inputs, **self.derived}

    @property
    def shipping(self) -> Variant:
        """The variant that ships."""
        return next(variant for variant in self.variants if variant.ships)
