# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
import re
from typing import Any

from mmdet.registry import VISBACKENDS
from mmengine.visualization import MLflowVisBackend

# what MLflow allows in the name of a metric
_FORBIDDEN = re.compile(r'[^\w\-. :/]')


@VISBACKENDS.register_module()
class FracMLflowVisBackend(MLflowVisBackend):
    """MLflow for the metrics of mmfrac, as of MLflow 3.

    mmengine's own back end hands names on as they are; MLflow refuses ``frac/Recall@0.1`` and ends the
    training. Here it becomes ``frac/Recall at 0.1``. Without ``tracking_uri`` the runs are kept in an
    SQLite file of the work dir, since MLflow no longer writes plain files.

    Args:
        save_dir (str): Folder of the log; the visualizer sets it.
        tracking_uri (str, optional): Server or database. Defaults to ``mlflow.db`` in ``save_dir``.
        artifact_location (str, optional): Of the files. Defaults to ``mlartifacts/`` in ``save_dir`` if
            ``tracking_uri`` is not given, else to that of the server.
        exp_name (str): Experiment. MLflow's own ``Default`` keeps its files in the current folder.
            Defaults to 'mmfrac'.
        **kwargs: Of ``MLflowVisBackend``: ``run_name``, ``tags``, ``params``, ``tracked_config_keys``,
            ``artifact_suffix``.
    """

    def __init__(
        self,
        save_dir: str,
        tracking_uri: str | None = None,
        artifact_location: str | None = None,
        exp_name: str = 'mmfrac',
        **kwargs: Any,
    ) -> None:
        if tracking_uri is None:
            folder = os.path.abspath(save_dir)
            tracking_uri = f'sqlite:///{folder}/mlflow.db'
            artifact_location = artifact_location or f'file://{folder}/mlartifacts'
        super().__init__(
            save_dir,
            exp_name,
            tracking_uri=tracking_uri,
            artifact_location=artifact_location,
            **kwargs,
        )

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Log a value under a name that MLflow takes."""
        super().add_scalar(_allowed_name(name), value, step, **kwargs)

    def add_scalars(
        self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Log values under names that MLflow takes."""
        renamed = {_allowed_name(name): value for name, value in scalar_dict.items()}
        super().add_scalars(renamed, step, file_path, **kwargs)


def _allowed_name(name: str) -> str:
    """Name of a metric as MLflow takes it: ``@`` becomes ``at``, what else is not allowed ``_``."""
    return _FORBIDDEN.sub('_', name.replace('@', ' at '))
