# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Supervised training alone: burn-in that never ends.
model = dict(semi_train_cfg=dict(burn_in_epochs='all'))
