"""GBPClassifier: classification by message passing."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_modules.classifier_evaluation import ClassifierEvaluation
from lightning_modules.gbp_module import GBPModule
from torch_gbp import Likelihood, Softmax
from torch_gbp.optim.configure import Plain
from torch_gbp.optim.stores import Store


class GBPClassifier(GBPModule, ClassifierEvaluation):
    """A classifier whose weights are Gaussian marginals; predicts class probabilities.

    Args:
        model: network of GBP layers with one output per class.
        likelihood: None takes `Softmax()`, whose cold posterior suits the layers' default prior.
        lr, epochs, num_data, warmup, store, plain, sweep: as in `GBPModule`.

    >>> import torch, torch_gbp
    >>> classifier = GBPClassifier(torch_gbp.GBPLinear(4, 3))
    >>> classifier.log_probabilities(torch.ones(2, 4)).exp().sum(1).round(decimals=4)
    tensor([1., 1.])
    """

    def __init__(
        self,
        model: nn.Module,
        likelihood: Likelihood | None = None,
        lr: float | None = None,
        epochs: float | None = None,
        num_data: int | None = None,
        warmup: float = 0.2,
        store: Store | None = None,
        plain: Plain | None = None,
        sweep: str | None = None,
    ) -> None:
        likelihood = Softmax() if likelihood is None else likelihood
        super().__init__(model, likelihood, lr, epochs, num_data, warmup, store, plain, sweep)

    def log_probabilities(self, x: Tensor) -> Tensor:
        return self.predict(x).distribution.logits  # type: ignore[attr-defined]

    def predictions(self, x: Tensor) -> dict[str, Tensor]:
        """Class probabilities (n, classes), and the epistemic and aleatoric uncertainty of the class (n,), in nats."""
        found = self.predict(x)
        return {"probabilities": found.probs, "epistemic": found.epistemic, "aleatoric": found.aleatoric}
