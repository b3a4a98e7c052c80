"""What is said by the systems of a run: which are asked, what is judged under which weights, and what is printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from parity.base.cache import Cache
from parity.compare.evidence import KIND
from parity.declarations import Case, Hub, Reference, Stage, System, Variant, f32
from parity.plan.checks import SHIPS
from parity.speech import ears, session
from parity.speech.margins import load
from parity.speech.session import Heard, Speech, table
from parity.speech.sound import Samples, SpeechError
from parity.verdict import Check, Finding
from tests.support.project import Project

RATE = 8_000
TONE = np.sin(np.arange(8_000, dtype=np.float32) / 10)
KEY = "0" * 64


class Ears:
    """A recognizer, an encoder and a listener of a test: hears the whole text where the recording is loud enough."""

    name, about = "ears", "hears what is loud"

    def transcribe(self, audio: Samples, rate: int) -> str:
        return "hello you" if np.abs(audio).max() > 0.4 else ""

    def embed(self, audio: Samples, rate: int) -> Sequence[float]:
        return (1.0, 0.0 if np.abs(audio).max() > 0.4 else 1.0)

    def rate(self, audio: Samples, rate: int) -> float:
        return 4.0 if np.abs(audio).max() > 0.4 else 2.0


def system(kind: str, about: str) -> System:
    def nothing(*_: Any) -> Any:
        raise AssertionError("nothing is built here")

    reference = Reference(
        "duo", RATE, (Case("hi", {}, short=True, about=about),), (), Hub("a/b", "c", "0", "0"), *3 * (nothing,)
    )
    variants = (Variant("fp32", "float32", ships=True),)
    stage = Stage("voice", nothing, {}, {"audio": f32(8_000, kind=kind)}, variants)  # type: ignore[arg-type]
    return System(reference, (stage,), nothing)


def run(
    tmp_path: Path,
    patch: pytest.MonkeyPatch,
    candidate: np.ndarray,
    source: str = "hub",
    kind: str = "audio",
    listener: Any = None,
    about: str = "Hello, you.",
) -> Speech:
    """A run whose chain has left this candidate beside a tone."""
    ported = system(kind, about)
    cache = Cache(tmp_path / "cache")

    def evidence(folder: Path) -> None:
        heard = {"voice.audio.reference": TONE, "voice.audio.candidate": candidate}
        save_file(heard, folder / "audio.safetensors", metadata={"sample_rate": str(RATE)})

    cache.get(KIND, KEY, evidence)
    check = Check(
        system="duo", stage="chain", variant=SHIPS, case="hi", mode="chained", runtime="milrun", numerics="declared"
    )
    forced = Check(
        system="duo", stage="voice", variant="fp32", case="hi", mode="forced", runtime="milrun", numerics="declared"
    )
    bench = SimpleNamespace(
        system=ported,
        weights=SimpleNamespace(source=source),
        run=lambda check: SimpleNamespace(evidence=KEY, failures=()),
    )
    bench.cache = cache
    suite: Any = SimpleNamespace(
        root=tmp_path,
        project=SimpleNamespace(golden_folder=tmp_path / "golden"),
        cache=cache,
        goldens=lambda system: None,
        options=SimpleNamespace(weights=source),
        plan=lambda: [forced, check],
        workbench=lambda check: bench,
    )
    patch.setattr(session, "systems", lambda: {"duo": ported})
    patch.setattr(ears, "listener", lambda: listener)
    own = f"{__name__}:Ears"
    return Speech(suite, own, own, lambda goldens, cache, case, output: [TONE * np.float32(0.999)])


def judged(speech: Speech) -> Heard:
    (speaker,) = speech.plan()
    assert speaker.name == "duo-ships-milrun-declared"
    return speech.judge(speaker)


def test_published_weights_are_judged_by_words_and_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = judged(run(tmp_path, monkeypatch, 0.9 * TONE))
    assert heard.passed, heard.explain()
    assert [ruling.metric for ruling in heard.rulings] == ["speaker similarity", "word error rate"]
    assert "ears: hears what is loud" in heard.remarks


def test_seeded_weights_are_judged_by_the_recording_alone_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = judged(run(tmp_path, monkeypatch, 0.9 * TONE, source="seeded"))
    assert [ruling.metric for ruling in heard.rulings] == ["speaker similarity"]
    assert "duo: seeded weights speak no language" in table([heard])


def test_a_candidate_that_lost_words_and_voice_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = judged(run(tmp_path, monkeypatch, 0.1 * TONE))
    assert not heard.passed
    said = table([heard], ["listener"])
    assert "speech FAILED  ✓ 0  ✗ 2" in said
    assert "word error rate 1 where the reference has 0" in said
    assert "no audio output, so nothing to listen to: listener" in said


def test_speech_that_sounds_worse_fails_where_something_hears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = judged(run(tmp_path / "quiet", monkeypatch, 0.1 * TONE, listener=Ears()))
    assert "naturalness 2 where the reference has 4" in quiet.explain()
    alike = judged(run(tmp_path / "alike", monkeypatch, 0.9 * TONE, listener=Ears()))
    assert alike.passed
    assert session.NO_EARS not in alike.remarks
    assert session.NO_EARS in judged(run(tmp_path / "deaf", monkeypatch, 0.9 * TONE)).remarks


def test_a_case_without_its_text_is_named_with_the_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpeechError, match=r"duo, case hi: `about` is '', and the word error rate .* the spoken text"):
        judged(run(tmp_path, monkeypatch, TONE, about=""))


def test_a_silent_candidate_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpeechError, match=r"hi voice.audio, the candidate is silent"):
        judged(run(tmp_path, monkeypatch, 0 * TONE))


def test_a_system_that_says_nothing_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path, monkeypatch, TONE, kind="features").plan() == []


def test_a_chain_that_could_not_run_left_nothing_to_hear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = run(tmp_path, monkeypatch, TONE)
    (speaker,) = speech.plan()
    broken = SimpleNamespace(evidence="", failures=(Finding("voice", "runs", False, message="no such op"),))
    speech.suite.workbench(speaker.checks[0]).run = lambda check: broken  # type: ignore[method-assign]
    with pytest.raises(SpeechError, match=r"duo-chain-ships-hi.* left no audio.*no such op"):
        speech.judge(speaker)


PLUGIN = dedent("""\
    import numpy as np


    class Ear:
        name, about = "ear", "compares the samples"

        def embed(self, audio, rate):
            return audio[:800]
    """)
REFERENCE = dedent("""\
    import numpy as np
    import torch

    from parity.declarations import Case, Hub, Reference, Seam


    def seed(checkpoint):
        torch.save(torch.nn.Conv1d(4, 1, 3, padding=1).state_dict(), checkpoint)


    def build(checkpoint):
        model = torch.nn.Conv1d(4, 1, 3, padding=1)
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
        return model


    def record(model, case):
        x = torch.from_numpy(case.inputs["x"])
        with torch.no_grad():
            for scope, gain in (("near", 0.5), ("far", -0.5)):
                audio = torch.sin(model(gain * x)[0, 0])
                yield Seam(f"{scope}.voice", {"x": gain * case.inputs["x"]}, {"audio": audio.numpy()})


    REFERENCE = Reference(
        name="duo",
        sample_rate=8_000,
        cases=(Case("hello", {"x": np.sin(np.arange(16_000, dtype=np.float32)).reshape(1, 4, 4_000)}, short=True),),
        packages=("torch",),
        checkpoint=Hub("nobody/duo", "duo.pth", "0" * 40, "0" * 64),
        seed=seed,
        build=build,
        record=record,
    )
    """)
CONVERTER = dedent("""\
    import torch

    from parity.declarations import Stage, System, Variant, f32
    from references.duo import REFERENCE


    class Voice(torch.nn.Module):
        def __init__(self, upstream):
            super().__init__()
            self.conv = upstream

        def forward(self, x):
            return torch.sin(self.conv(x)[0, 0])


    VOICE = Stage("voice", Voice, {"x": f32(1, 4, 4_000)}, {"audio": f32(4_000, kind="audio")}, VARIANTS)


    def system(name, gain):
        def chain(run, case):
            run("voice", {"x": gain * case.inputs["x"]})

        return System(REFERENCE, (VOICE,), chain, title=name, scope=name)


    SYSTEMS = [system("near", 0.5), system("far", -0.5)]
    """).replace("VARIANTS", '(Variant("fp32", "float32", ships=True),)')


@pytest.fixture
def speaking(warm_python: Path, tmp_path: Path) -> Project:
    """Two systems that share a reference, and speak; their goldens are recorded."""
    system = {"references/duo.py": REFERENCE, "converters/duo.py": CONVERTER, "ear.py": PLUGIN}
    project = Project.bare(tmp_path / "project", warm_python, system)
    project.done("golden", "refresh", "duo", "--reason", "first recording")
    return project


def test_systems_that_share_a_reference_are_heard_each_by_its_own_truth(speaking: Project) -> None:
    finished = speaking.run("pytest", "-m", "speech", "--speaker", "ear:Ear")
    assert finished.code == 0, finished.said
    assert "speech passed  ✓ 2" in finished.said
    speaking.edit("converters/duo.py", "torch.sin(", "torch.cos(")
    finished = speaking.run("pytest", "-m", "speech", "--speaker", "ear:Ear")
    assert finished.code == 1, finished.said
    assert "speech FAILED  ✓ 0  ✗ 2" in finished.said


def test_without_its_extra_one_line_names_it(speaking: Project) -> None:
    speaking.write("speechbrain.py", "raise ModuleNotFoundError(name='speechbrain')\n")
    finished = speaking.run("pytest", "-m", "speech", "-k", "near")
    assert finished.code == 1, finished.said
    assert "! near-ships-milrun-declared: speechbrain is not installed: install coreml-parity with its" in finished.said
    assert "Traceback" not in finished.said


def test_a_run_in_which_no_system_speaks_is_refused(warm_python: Path, tmp_path: Path) -> None:
    project = Project.bare(tmp_path / "project", warm_python)
    finished = project.run("pytest", "-m", "speech")
    assert finished.code == pytest.ExitCode.USAGE_ERROR, finished.said
    assert "there is nothing to listen to: none of the systems of this run has an output of kind" in finished.said


def test_nothing_measured_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (speaker,) = run(tmp_path, monkeypatch, TONE).plan()
    nothing = Heard(speaker, (), ())
    assert not nothing.passed
    assert "nothing was measured" in nothing.explain()
    assert "speech FAILED" in table([nothing])


def test_what_could_not_be_judged_fails_what_could(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = judged(run(tmp_path, monkeypatch, TONE))
    assert "speech passed  ✓ 2" in table([heard])
    said = table([heard], errors={"test[other]": "the candidate is silent"})
    assert "! test[other]: the candidate is silent" in said
    assert "speech FAILED  ✓ 2  ! 1" in said


MARGIN = 'margin = 0.9, derived_from = "a test", reason = "a stated price"'


def test_a_system_states_its_own_margin_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "golden" / "duo").mkdir(parents=True)
    (tmp_path / "golden" / "duo" / "speech.toml").write_text(f"[seeded.ships]\nvoice = {{ {MARGIN} }}\n")
    heard = judged(run(tmp_path, monkeypatch, 0.1 * TONE, source="seeded"))
    assert heard.passed
    assert "duo ships, voice margin 0.9: a stated price" in heard.remarks
    assert not judged(run(tmp_path, monkeypatch, 0.1 * TONE)).passed, "the margin is of the seeded weights"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"[seedet.ships]\nvoice = {{ {MARGIN} }}", r"\[seedet\] unknown name 'seedet'; did you mean 'seeded'"),
        (
            f"[seeded.shipping]\nvoice = {{ {MARGIN} }}",
            r"shipping\] unknown name 'shipping'; did you mean 'ships'",
        ),
        (
            f"[seeded.ships]\nvoise = {{ {MARGIN} }}",
            r"voise\] unknown name 'voise'; did you mean 'voice'",
        ),
        ("[seeded.ships]\nvoice = 0.1", r"\[seeded.ships.voice\] is 0.1 where a table is expected"),
        ("[seeded.ships]\nvoice = { margin = 0.1 }", "has no derived_from"),
        (
            f"[seeded.ships]\nvoice = {{ {MARGIN.replace('0.9', '1.0')} }}",
            r"voice.margin\] is 1.0 where",
        ),
        (
            f"[seeded.ships]\nvoice = {{ {MARGIN.replace('0.9', 'nan')} }}",
            r"margin\] is nan where a finite",
        ),
        (
            f"[seeded.ships]\nvoice = {{ {MARGIN.replace('a stated price', ' ')} }}",
            r"reason\] is ' ' where some text",
        ),
        ("[seeded", "Expected ']' at the end of a table declaration"),
    ],
)
def test_a_margin_that_says_nothing_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "speech.toml").write_text(text)
    with pytest.raises(SpeechError, match=said):
        load(tmp_path / "speech.toml", ["ships"])
