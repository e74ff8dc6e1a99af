# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmdet.models.data_preprocessors import MultiBranchDataPreprocessor
from mmdet.registry import MODELS


@MODELS.register_module()
class SemiDataPreprocessor(MultiBranchDataPreprocessor):
    """mmdet's ``MultiBranchDataPreprocessor`` for batches in which a branch may have no film.

    Burn-in batches are supervised alone, and with ``batch_size=1`` the branches take turns; mmdet's
    own fails on an empty branch.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise, stack and move every branch that has films.

        Args:
            data (dict): ``inputs`` and ``data_samples``, in training each a dict of branches whose lists
                hold None for films of another branch.
            training (bool): Whether ``data`` has branches. Defaults to False.

        Returns:
            dict: The same with tensors; branches without films are left out.
        """
        if training:
            data = {
                key: {
                    branch: values
                    for branch, values in branches.items()
                    if any(value is not None for value in values)
                }
                for key, branches in data.items()
            }
        return super().forward(data, training)
