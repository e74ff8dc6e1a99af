# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

import numpy as np
import torch


def as_numpy(data: Any) -> np.ndarray:
    """A tensor or array as a NumPy array; bfloat16, which NumPy lacks, becomes float32."""
    if not isinstance(data, torch.Tensor):
        return np.asarray(data)
    data = data.detach().cpu()
    return (data.float() if data.dtype == torch.bfloat16 else data).numpy()
