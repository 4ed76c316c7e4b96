"""Where the head starts: fitted to the frozen features before any unit is tuned (LP-FT).

Kumar et al. 2022 (arXiv 2202.10054): a random head sends large gradients into the pretrained
features and distorts them; a head fitted first does not. It is fitted on the training samples of
its fold only.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layersearch.backbones import Chain, clone_stage, paired
from layersearch.subtuning.features import FeatureStore

# The evaluation view: a probe is fitted on each sample as it is, not on its augmentations.
_VIEW = -1


WEIGHT_DECAYS = (1e-3, 1e-2, 1e-1)
Stage = Callable[..., tuple[Any, ...]]
_BATCH = 128  # samples through the whole network at a time
_HELD_OUT = 5  # one in so many training samples chooses the weight decay


class HeadFitter:
    """Fits heads to the frozen backbone's last features, and remembers the linear ones.

    The mean cross-entropy plus half the weight decay times the squared norm of the weights is
    minimised by L-BFGS over all samples at once. The weight decay is the one of `weight_decays`
    that does best on a fifth of the training samples, held out for that; then all of them are
    fitted.

    Args:
        chain: the frozen backbone.
        device: where the features live.
        weight_decays: to choose from.
        iterations: of L-BFGS, at most.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        device: torch.device,
        weight_decays: Sequence[float] = WEIGHT_DECAYS,
        iterations: int = 100,
    ) -> None:
        self._chain = chain
        self._device = device
        self._weight_decays = tuple(weight_decays)
        self._iterations = iterations
        self._fitted: dict[bytes, dict[str, Tensor]] = {}

    def fit(
        self,
        head: nn.Module,
        features: FeatureStore,
        labels: Tensor,
        samples: Tensor,
        *,
        siamese: bool = False,
    ) -> nn.Module:
        """The head fitted in place to the samples (n,).

        A linear head has one optimum, whatever its start, and is fitted once for all trials; a
        deeper one starts from the weights it has. A Siamese one, of several layers, is given the
        features twice: original and tuned ones are equal before anything is tuned.
        """
        samples = samples.sort().values
        linear = all(parameter.ndim < 2 for parameter in list(head.parameters())[1:])
        assert not (linear and siamese)  # it is made of halves
        key = samples.cpu().numpy().tobytes()
        if linear and key in self._fitted:
            head.load_state_dict(self._fitted[key])
            return head
        if linear:
            with torch.no_grad():
                for parameter in head.parameters():
                    parameter.zero_()
        self._fit(head, features, labels, samples, siamese=siamese)
        if linear:
            self._fitted[key] = {name: value.clone() for name, value in head.state_dict().items()}
        return head

    def _fit(
        self,
        head: nn.Module,
        features: FeatureStore,
        labels: Tensor,
        samples: Tensor,
        *,
        siamese: bool,
    ) -> None:
        stage, inputs = self._last_stage(head, features, samples)
        if siamese:
            inputs[0] = paired(inputs[0], inputs[0], kind=self._chain.head_kind)
        targets = labels[samples.to(self._device)]
        start = {name: value.clone() for name, value in head.state_dict().items()}
        held = torch.arange(len(samples), device=self._device) % _HELD_OUT == 0
        losses = []
        for weight_decay in self._weight_decays if len(samples) >= 2 * _HELD_OUT else ():
            head.load_state_dict(start)
            self._minimise(stage, head, _rows(inputs, ~held), targets[~held], weight_decay)
            with torch.no_grad():
                scores = stage(*_rows(inputs, held))[0]
                losses.append(F.cross_entropy(scores, targets[held]).item())
        best = losses.index(min(losses)) if losses else len(self._weight_decays) // 2
        head.load_state_dict(start)
        self._minimise(stage, head, inputs, targets, self._weight_decays[best])

    def _last_stage(
        self, head: nn.Module, features: FeatureStore, samples: Tensor
    ) -> tuple[Stage, list[Any]]:
        """What follows the last cut, with this head, and the values that enter it."""
        chain = self._chain
        if chain.traced:
            stage = clone_stage(chain.stages[-1], {}, buffers=[], modules={chain.head: head})
            values = features.values(len(chain.stages) - 1, samples, _VIEW)
            return stage, [v.float() if torch.is_tensor(v) else v for v in values]
        # What cannot be cut has no such stage: the head alone is fitted on what enters it.
        with torch.no_grad():
            parts = [
                chain.features(*features.values(0, batch, _VIEW)).float()
                for batch in torch.split(samples, _BATCH)
            ]
        return lambda entering: (head(entering),), [torch.cat(parts)]

    def _minimise(
        self,
        stage: Stage,
        head: nn.Module,
        inputs: Sequence[Any],
        targets: Tensor,
        weight_decay: float,
    ) -> None:
        parameters = list(head.parameters())
        optimizer = torch.optim.LBFGS(
            parameters, max_iter=self._iterations, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(stage(*inputs)[0], targets)
            for parameter in parameters:
                if parameter.ndim > 1:
                    loss = loss + 0.5 * weight_decay * parameter.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's is untyped
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch's is untyped


def halved(head: nn.Module, wide: nn.Module) -> nn.Module:
    """Gives the Siamese head `wide` the scores of `head`, of one layer, for two equal features."""
    state = head.state_dict()
    wide.load_state_dict({**state, "weight": torch.cat([state["weight"] / 2] * 2, dim=1)})
    return wide


def _rows(inputs: Sequence[Any], mask: Tensor) -> list[Any]:
    """The values of some of the samples; numbers are passed on."""
    return [value[mask] if torch.is_tensor(value) else value for value in inputs]
