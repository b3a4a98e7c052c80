"""Other weights than the seeded ones: truth and bounds of their own, beside those of the seeded ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from parity.base.cache import Cache
from parity.declarations import Case, Hub, Trained
from parity.gate import bounds
from parity.golden.store import GoldenStore
from parity.plan.weights import WeightsError, choose, dressed, foreign
from tests.support.golden_system import REFERENCE
from tests.support.project import GATES, Project
from tests.support.runs import checked


def other(project: Project) -> Path:
    """A checkpoint with louder weights than the seeded ones."""
    path = project.folder / "other.pth"
    sizes = {"front.weight": (8, 4, 3), "front.bias": (8,), "back.weight": (2, 8, 1), "back.bias": (2,)}
    state = {
        name: 0.3 * torch.sin(torch.arange(torch.Size(size).numel()) + 1.0).reshape(size)
        for name, size in sizes.items()
    }
    torch.save(state, path)
    return path


def test_bounds_of_other_weights_lie_beside_their_truth(project: Project) -> None:
    checkpoint = str(other(project))
    before = (project.folder / GATES).read_bytes()
    assert project.run("golden", "refresh", "tiny", "--weights", checkpoint).code == 0
    (room,) = (project.folder / "golden/tiny").glob("weights-path-*")
    # As long as there are no others, those of the seeded weights hold, and these are louder.
    run = checked(project, "--weights", checkpoint)
    assert run.broken("tiny-front-fp16-goodbye-forced") == {("hidden", "rms_ratio")}
    assert (
        "tiny: judged by the bounds of the default weights; the checkpoint's own come from `parity calibrate"
        in run.said
    )
    found = project.run("parity", "calibrate", "tiny", "--weights", checkpoint)
    assert found.code == 0, found.said
    assert (project.folder / GATES).read_bytes() == before
    own = room / "gates.toml"
    assert "derived_from" in own.read_text()
    own_bounds = checked(project, "--weights", checkpoint)
    assert own_bounds.green
    assert "judged by the bounds of" not in own_bounds.said
    text, count = re.subn(r"(relative_l2 *= \{ max = )[^,]+", r"\g<1>1e-30", own.read_text())
    assert count
    own.write_text(text)
    assert not checked(project, "--weights", checkpoint).green
    assert checked(project).green


def test_a_bound_that_loosens_is_told_of_whichever_weights(project: Project) -> None:
    text = (project.folder / GATES).read_text()
    for room in ("tiny", "tiny/weights-hub-tiny"):
        path = project.folder / "golden" / room / "gates.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    known = bounds.of_tree(project.folder)
    assert set(known.gates) == {"tiny", "tiny/weights-hub-tiny"}
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("cosine")))
    lost = {one.name for one in bounds.loosenings(known, bounds.of_tree(project.folder))}
    assert lost
    assert all(name.startswith("tiny/weights-hub-tiny.") for name in lost)


@pytest.mark.parametrize(
    ("repository", "filename", "room"),
    [
        ("nobody/tiny", "tiny.pth", "weights-hub-tiny"),
        ("nobody/Tiny-82M", "tiny-v1_0.pth", "weights-hub-tiny-82m-tiny-v1_0"),
        ("nobody/../..", "..", "weights-hub"),
    ],
)
def test_a_room_is_named_after_what_was_published(tmp_path: Path, repository: str, filename: str, room: str) -> None:
    reference = replace(REFERENCE, checkpoint=Hub(repository, filename, "0" * 40, "0" * 64))
    weights = choose(reference, "hub", Cache(tmp_path))
    assert weights.folder == room
    assert str(weights) == f"hub {repository} {filename}"


HERE = {"numpy": np.__version__}
LACKING = {"numpy": np.__version__, "no-such-package": "1.0"}


def write(checkpoint: Path) -> None:
    torch.save({"weight": torch.ones(3, 4), "gain": torch.ones(1)}, checkpoint)


def test_trained_weights_are_the_default_where_their_packages_are_installed(tmp_path: Path) -> None:
    louder = Trained(HERE, write, dress=lambda case: replace(case, inputs={"x": 2 * case.inputs["x"]}))
    reference = replace(REFERENCE, trained=louder)
    weights = choose(reference, "auto", Cache(tmp_path))
    assert (weights.source, weights.folder, weights.in_git) == ("trained", "", True)
    assert torch.load(weights.checkpoint(), weights_only=True)["weight"].mean() == 1
    for before, after in zip(reference.cases, dressed(reference, weights).cases, strict=True):
        np.testing.assert_array_equal(after.inputs["x"], 2 * before.inputs["x"])
    seeded = choose(reference, "seeded", Cache(tmp_path))
    assert (seeded.source, seeded.folder, seeded.in_git) == ("seeded", "weights-seeded", True)
    assert dressed(reference, seeded) is reference
    assert not foreign(seeded.folder)
    assert choose(REFERENCE, "auto", Cache(tmp_path)).folder == ""


def test_seeded_weights_stand_in_where_the_packages_lack(tmp_path: Path) -> None:
    reference = replace(REFERENCE, trained=Trained(LACKING, write, extra="trained"))
    assert choose(reference, "auto", Cache(tmp_path)).folder == "weights-seeded"
    with pytest.raises(WeightsError, match=r"need no-such-package 1\.0\. Install them: make extra-trained"):
        choose(reference, "trained", Cache(tmp_path))
    with pytest.raises(WeightsError, match=r"need no-such-package 1\.0"):
        choose(replace(reference, seed=None), "auto", Cache(tmp_path))
    with pytest.raises(WeightsError, match="no seeded weights; say trained"):
        choose(replace(reference, seed=None), "seeded", Cache(tmp_path))
    with pytest.raises(WeightsError, match="tiny has no trained weights"):
        choose(REFERENCE, "trained", Cache(tmp_path))


def test_another_version_of_a_package_may_have_other_weights(tmp_path: Path) -> None:
    reference = replace(REFERENCE, trained=Trained({"numpy": "0.1"}, write))
    with pytest.raises(WeightsError, match=rf"numpy {np.__version__} is installed; .* those of numpy 0\.1"):
        choose(reference, "auto", Cache(tmp_path))


def test_a_file_is_told_by_its_tensors_whatever_the_archive(tmp_path: Path) -> None:
    state = {"weight": torch.arange(12.0).reshape(3, 4), "gain": torch.ones(1, dtype=torch.bfloat16)}
    torch.save(state, tmp_path / "one.pth")
    torch.save(dict(reversed(state.items())), tmp_path / "renamed.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "one.safetensors")
    torch.save({**state, "weight": state["weight"] + 1e-7}, tmp_path / "other.pth")
    (tmp_path / "archive.nemo").write_bytes(b"no tensors that torch can read")
    folders = {path.name: choose(REFERENCE, str(path), Cache(tmp_path)).folder for path in tmp_path.glob("*.*")}
    assert (tmp_path / "one.pth").read_bytes() != (tmp_path / "renamed.pth").read_bytes()
    assert folders["one.pth"] == folders["renamed.pth"] == folders["one.safetensors"]
    assert len(set(folders.values())) == 3


def test_a_file_that_belongs_to_a_checkpoint_can_be_named_with_it(tmp_path: Path) -> None:
    for name, value in (("mine.pth", 1.0), ("voice one.pt", 2.0), ("other.pt", 3.0)):
        torch.save({"x": torch.full((1, 3), value)}, tmp_path / name)

    def dress(case: Case, files: Mapping[str, Path]) -> Case:
        return replace(case, inputs={"x": torch.load(files["voice"], weights_only=True)["x"].numpy()})

    hub = Hub("nobody/tiny", "voice.pt", "0" * 40, "0" * 64)
    reference = replace(REFERENCE, published={"voice": hub}, dress=dress)
    asked = [
        f"{tmp_path}/mine.pth{voice}"
        for voice in ("", f",voice={tmp_path}/voice one.pt", f",voice={tmp_path}/other.pt")
    ]
    plain, voiced, other = (choose(reference, option, Cache(tmp_path)) for option in asked)
    assert len({plain.folder, voiced.folder, other.folder}) == 3
    assert dressed(reference, plain) is reference
    assert {case.inputs["x"].mean() for case in dressed(reference, voiced).cases} == {2.0}
    assert voiced.option == f"'{asked[1]}'"
    assert str(GoldenStore(reference, tmp_path, Cache(tmp_path), voiced).mend) == (
        f"python -m parity golden refresh tiny --weights '{asked[1]}' --reason \"…\""
    )
    with pytest.raises(WeightsError, match="tiny takes no file 'vocie'; it takes voice"):
        choose(reference, f"{asked[0]},vocie={tmp_path}/other.pt", Cache(tmp_path))
    with pytest.raises(WeightsError, match=r"none\.pt: no such file. Name the file of the voice"):
        choose(reference, f"{asked[0]},voice={tmp_path}/none.pt", Cache(tmp_path))
