# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Changes of a semi-supervised step's images together with their targets, on the device."""

from mmfrac.models.batch_augments.erase_background import EraseBackground
from mmfrac.models.batch_augments.mix_up import MixUp

__all__ = ['EraseBackground', 'MixUp']
