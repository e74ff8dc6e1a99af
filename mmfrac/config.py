# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Old name of ``mmfrac.utils.config``, for configs that import it."""

import warnings

from mmfrac.utils.config import *  # noqa: F403

warnings.warn(
    'mmfrac.config is now mmfrac.utils.config; change the import in your config', FutureWarning, 2
)
