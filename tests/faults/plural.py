"""A made-up system of several small stages, for what one stage can't show: two outputs, a quiet one, integers, and a
case that is longer than the other. Each stage has a line that a mutant changes."""

from textwrap import dedent

from tests.support.project import reference

REFERENCES, CONVERTED = "references/plural.py", "converters/plural.py"

REFERENCE = reference(
    "plural",
    "Functions of x that stand for a speech model.",
    model="""
    class Upstream(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))

        def forward(self, x):
            x = x * self.gain
            return {
                "pair": {"first": torch.sin(x), "second": torch.cos(x)},
                "quiet": {"hush": 1e-4 * torch.sin(3 * x)},
                "choice": {"best": torch.argmax(x, 1).int()},
                "loud": {"wave": torch.tanh(x)},
                "raised": {"level": torch.sin(2 * x)},
                "long": {"tail": torch.cos(2 * x)},
            }


    def seed(checkpoint):
        torch.save(Upstream().state_dict(), checkpoint)
    """,
    recording="""
    def record(model, case):
        with torch.no_grad():
            outputs = model(torch.from_numpy(case.inputs["x"]))
        for stage, values in outputs.items():
            yield Seam(stage, {"x": case.inputs["x"]}, {name: value.numpy() for name, value in values.items()})


    def case(name, frames):
        x = 2 * np.sin(np.arange(4 * frames, dtype=np.float32) ** 2).reshape(1, 4, frames)
        return Case(name, {"x": x}, short=True)
    """,
)

CONVERTER = dedent('''\
    """A graph for each of the functions."""

    import torch
    from torch import nn

    from parity.declarations import Dim, Stage, System, Variant, i32, real
    from references.plural import REFERENCE

    FRAMES = Dim("frames", 1, 64)


    class Part(nn.Module):
        def __init__(self, upstream):
            super().__init__()
            self.gain = upstream.gain


    class Pair(Part):
        def forward(self, x):
            x = x * self.gain
            return torch.sin(x), torch.cos(x)


    class Quiet(Part):
        def forward(self, x):
            return 1e-4 * torch.sin(3 * x * self.gain)


    class Choice(Part):
        def forward(self, x):
            return torch.argmax(x * self.gain, 1).int()


    class Loud(Part):
        def forward(self, x):
            return torch.tanh(x * self.gain)


    class Raised(Part):
        def forward(self, x):
            return torch.sin(2 * x * self.gain)


    class Long(Part):
        def forward(self, x):
            return torch.cos(2 * x * self.gain)


    def stage(name, module, **outputs):
        ships = (Variant("fp32", "float32", ships=True),)
        return Stage(name, module, {"x": real(1, 4, FRAMES)}, outputs, ships, trace_at={"frames": 16})


    STAGES = (
        stage("pair", Pair, first=real(1, 4, FRAMES), second=real(1, 4, FRAMES)),
        stage("quiet", Quiet, hush=real(1, 4, FRAMES)),
        stage("choice", Choice, best=i32(1, FRAMES, kind="durations")),
        stage("loud", Loud, wave=real(1, 4, FRAMES)),
        stage("raised", Raised, level=real(1, 4, FRAMES)),
        stage("long", Long, tail=real(1, 4, FRAMES)),
    )


    def chain(run, case):
        for one in STAGES:
            run(one.name, {"x": case.inputs["x"]})


    SYSTEM = System(REFERENCE, STAGES, chain)
    ''')

SYSTEM = {REFERENCES: REFERENCE, CONVERTED: CONVERTER}

MUTANTS = (
    ("torch.cos(x)\n", "0.97 * torch.cos(x)\n"),
    ("1e-4 * torch.sin(3 * x", "1e-4 * torch.cos(3 * x"),
    ("torch.argmax(x * self.gain, 1)", "torch.argmin(x * self.gain, 1)"),
    ("torch.tanh(x * self.gain)", "1.05 * torch.tanh(x * self.gain)"),
    ("torch.sin(2 * x * self.gain)", "torch.sin(2 * x * self.gain) + 0.01"),
    (
        "torch.cos(2 * x * self.gain)",
        "torch.cos(2 * x * self.gain) * (torch.cumsum(torch.ones_like(x), 2) <= 16).float()",
    ),
)
"""One for each stage: the second output, another shape of a quiet tensor, an index, a gain, an offset, and zeros from
the 17th frame on, which the shorter case does not have."""
