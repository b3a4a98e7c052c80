"""python -m references.sortformer.train: makes the checkpoint, resumable at any step.

The quick recipe is meant for a GPU (minutes), the patient one for two CPU cores (a night). Both start with short
meetings, heard at once, and go on to longer ones, most of them heard as a stream.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import math
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset

from references.sortformer import provenance, upstream
from references.sortformer.bank import Bank, open_bank
from references.sortformer.labels import frames
from references.sortformer.learning import STREAMS, Average, loss, predictions, seed_everything
from references.sortformer.meetings import meeting
from references.sortformer.recipe import RECIPES, Recipe


class Batches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """One batch for each step, the same whoever makes it."""

    def __init__(self, bank: Bank, recipe: Recipe, first: int) -> None:
        self.bank, self.recipe, self.first = bank, recipe, first

    def __len__(self) -> int:
        return self.recipe.steps - self.first

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        step = self.first + index
        part = self.recipe.part(step)
        held = [
            meeting(self.bank, [self.recipe.seed, 11, step, row], part.seconds, stretch=self.recipe.stretch)
            for row in range(part.batch)
        ]
        samples = np.stack([np.round(one.samples * 32767).astype(np.int16) for one in held])
        return torch.from_numpy(samples), torch.from_numpy(np.stack([frames(one.active) for one in held]))


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def train(
    recipe: Recipe, directory: Path, device: str, workers: int, minutes: float, start: Path | None = None
) -> None:
    """Train until the recipe or the minutes end; continue an earlier run."""
    if start is not None:
        recipe = dataclasses.replace(recipe, start=hashlib.sha256(start.read_bytes()).hexdigest())
    began = time.monotonic()
    directory.mkdir(parents=True, exist_ok=True)
    bank = open_bank(recipe.contents, directory, max(1, workers))
    digest = bank.digest()
    print(f"bank: {bank.seconds / 3600:.1f} h, sha256 {digest[:16]}, {time.monotonic() - began:.0f} s", flush=True)
    torch.set_float32_matmul_precision("high")
    seed_everything(recipe.seed)
    model = upstream.untrained()
    if start is not None:
        upstream.load(model, load_file(start))
    model = model.to(device)
    from nemo.core.classes.common import typecheck

    # Its checks of every call cost more than small layers do.
    typecheck.set_typecheck_enabled(False)
    weights = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [value for value in weights if value.ndim > 1], "weight_decay": recipe.decay},
            {"params": [value for value in weights if value.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.rate,
        betas=(0.9, 0.98),
    )
    average = Average(model, recipe.average)
    state = directory / f"state-{recipe.digest()[:16]}.pt"
    step = _resume(state, model, optimizer, average, device)
    print(f"{sum(value.numel() for value in weights) / 1e6:.2f} M parameters, from step {step}", flush=True)
    loader = DataLoader(
        Batches(bank, recipe, step),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_one_thread,
        prefetch_factor=4 if workers else None,
        pin_memory=device == "cuda",
    )
    losses: list[torch.Tensor] = []
    pace = asked = time.monotonic()
    waited = 0.0
    for samples, active in loader:
        waited += time.monotonic() - asked
        # Of the step alone, so that a resumed run draws as one that was never stopped.
        random.seed(recipe.seed * 1_000_003 + step)
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        streamed = random.random() < recipe.part(step).streamed
        for group in optimizer.param_groups:
            group["lr"] = recipe.at(step)
        model.train()
        samples = samples.to(device, non_blocking=True).float() / 32768
        found = predictions(model, samples, random.choice(STREAMS) if streamed else None)
        total = loss(model, found, active.to(device, non_blocking=True))
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        average.update(model)
        losses.append(total.detach())
        step += 1
        late = time.monotonic() - began > 60 * minutes
        if step % 50 == 0 or late or step == recipe.steps:
            now = time.monotonic()
            mean = float(torch.stack(losses).mean())
            speed = f"{len(losses) / (now - pace):.2f}/s, {waited / (now - pace):.0%} waiting for meetings"
            print(f"step {step} loss {mean:.4f} {speed} {now - began:.0f} s", flush=True)
            losses, pace, waited = [], now, 0.0
        if step % 100 == 0 or late or step == recipe.steps:
            _keep(state, step, model, optimizer, average)
            upstream.save(average.weights, model, directory / "checkpoint.safetensors")
            facts = provenance.trained(recipe, step, digest, _hardware(device))
            provenance.write(directory / "checkpoint.safetensors", facts)
        if late:
            break
        asked = time.monotonic()


def _hardware(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} CPU threads"


def _keep(path: Path, step: int, model: Any, optimizer: torch.optim.Optimizer, average: Average) -> None:
    partial = path.with_suffix(".partial")
    everything = {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.weights,
        "averaged": average.steps,
    }
    torch.save(everything, partial)
    partial.replace(path)


def _resume(path: Path, model: Any, optimizer: torch.optim.Optimizer, average: Average, device: str) -> int:
    if not path.exists():
        return 0
    kept = torch.load(path, map_location=device, weights_only=True)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    average.weights, average.steps = kept["average"], kept["averaged"]
    return int(kept["step"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m references.sortformer.train", description=__doc__)
    parser.add_argument("--recipe", choices=RECIPES, default="quick" if torch.cuda.is_available() else "patient")
    parser.add_argument("--directory", type=Path, default=Path(".parity/sortformer"), help="for bank, state, result")
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="that mix meetings")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop, resumable, after so many")
    given = parser.parse_args()
    train(RECIPES[given.recipe], given.directory, given.device, given.workers, given.minutes, given.start)


if __name__ == "__main__":
    main()
