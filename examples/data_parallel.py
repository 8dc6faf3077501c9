"""
Data-parallel training
======================

Does a fit in several processes, each with a part of the rows, give the same model as in one
process? Run the script in one process, and then in two::

    python data_parallel.py
    torchrun --nproc_per_node 2 data_parallel.py

On machines with GPUs give the estimator ``device="cuda"``; every process then has its own.
"""

import os

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split
from sksurv.datasets import load_flchain

from sksurvtorch import CoxNNRegressor

# What torchrun tells each process.
n_processes, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))

# %%
# In practice each process would read its own part; here all read the same data and keep a part.
X, y = load_flchain()
X = pd.get_dummies(X.drop(columns="chapter"), dtype=float)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
X_train, X_test = (part.fillna(X_train.median()) for part in (X_train, X_test))
share = np.array_split(np.arange(len(X_train)), n_processes)[rank]
X_share, y_share = X_train.iloc[share], y_train[share]

# %%
# `batch_size` is per process. With 512 rows in total, the model does not depend on the number of
# processes, up to rounding.
model = CoxNNRegressor(
    accelerator="auto", batch_size=512 // n_processes, max_epochs=5, random_state=0
)
model.fit(X_share, y_share)

# %%
# Every process now has the same model, with the baseline hazard of all rows.
survival = model.predict_survival_function(X_test, times=[3650.0]).mean()
print(
    f"process {rank} of {n_processes}: held {len(X_share)} of {len(X_train)} rows, "
    f"concordance {model.score(X_test, y_test):.4f}, "
    f"mean survival after ten years {survival:.4f}"
)
