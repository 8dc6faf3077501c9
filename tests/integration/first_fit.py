"""What an installed package must be able to do with nothing but its dependencies."""

import numpy as np
from sksurv.datasets import load_whas500

import sksurvtorch

X, y = load_whas500()
for kind in sksurvtorch.CoxNNRegressor, sksurvtorch.WeibullAFTRegressor:
    model = kind(max_epochs=2, random_state=0).fit(X.astype(np.float32), y)
    survival = model.predict_survival_function(X.astype(np.float32), times=[365.0])
    assert survival.shape == (500, 1)
    assert 0 < survival.min() < survival.max() < 1
print(sksurvtorch.__version__, sksurvtorch.__file__)
