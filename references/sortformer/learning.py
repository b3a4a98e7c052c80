"""One step of learning: NeMo's modules, NeMo's targets and loss, on meetings."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from references.sortformer import upstream
from references.sortformer.config import UPSTREAM, Streaming

# What a model meets that is trained to stream: upstream's long chunks, and shorter ones behind a queue, so that it
# knows a cache, a queue and a chunk of any length.
STREAMS = (UPSTREAM, Streaming(94, 7, 1, 94, 94), Streaming(62, 7, 1, 188, 144), Streaming(125, 20, 1, 40, 125))


def predictions(model: Any, samples: Tensor, streaming: Streaming | None) -> Tensor:
    """Probabilities by frame and speaker for a batch of meetings of one length; as they come, without the scaling by
    the loudest sample that the offline mode does, since it would be that of the batch."""
    lengths = torch.full((len(samples),), samples.shape[1], device=samples.device)
    mel, mel_lengths = model.preprocessor(input_signal=samples, length=lengths)
    mel = mel[:, :, : int(samples.shape[1]) // 160]
    mel_lengths = mel_lengths.clamp(max=mel.shape[2])
    if streaming is not None:
        upstream.stream(model, streaming)
        result: Tensor = model.forward_streaming(mel, mel_lengths)
        return result
    embeddings, lengths = model.frontend_encoder(processed_signal=mel, processed_signal_length=mel_lengths)
    result = model.forward_infer(embeddings, lengths)
    return result


def loss(model: Any, found: Tensor, active: Tensor) -> Tensor:
    """Half for the order of arrival, half for the best order, as upstream weighs them."""
    from nemo.collections.asr.parts.utils.asr_multispeaker_utils import get_ats_targets, get_pil_targets

    found = found.float()[:, : active.shape[1]]
    wanted = active[:, : found.shape[1]].to(found.dtype)
    lengths = torch.full((len(found),), found.shape[1])
    orders = model.speaker_permutations
    by_arrival = get_ats_targets(wanted.clone(), found, speaker_permutations=orders)
    best = get_pil_targets(wanted.clone(), found, speaker_permutations=orders)
    total: Tensor = model.ats_weight * model.loss(probs=found, labels=by_arrival, target_lens=lengths)
    return total + model.pil_weight * model.loss(probs=found, labels=best, target_lens=lengths)


class Average:
    """The running average of a model's weights, which does better than the last step's."""

    def __init__(self, model: Any, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: Any) -> None:
        self.steps += 1
        # Young averages forget faster, or they would remember the first weights, which know nothing.
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        floats = [
            (mine, value)
            for (name, value) in model.state_dict().items()
            if (mine := self.weights[name]).is_floating_point()
        ]
        torch._foreach_lerp_([mine for mine, _ in floats], [value for _, value in floats], 1 - decay)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
