"""Tables: message passing behind scikit-learn's interface, for pipelines, cross-validation and grid searches.

Reads from left to right: what an estimator is set to (`settings`), how its network is trained (`training`), what both estimators
share (`estimator`), and the two (`classifier`, `regressor`). Needs scikit-learn, the extra `sklearn`.
"""

from torch_gbp.errors.extras import require_extra

require_extra("sklearn", {"sklearn": "scikit-learn"}, "torch_gbp.sklearn")

from torch_gbp.sklearn.classifier import GBPClassifier
from torch_gbp.sklearn.regressor import GBPRegressor

__all__ = ["GBPClassifier", "GBPRegressor"]
