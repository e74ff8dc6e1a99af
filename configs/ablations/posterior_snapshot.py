# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/ablations/posterior_snapshot.py 4
# From a supervised model, or with several as teacher:
#   --cfg-options load_from=work_dirs/frac_sup/best_frac_AUROC_epoch_30.pth
#     model.semi_train_cfg.burn_in_epochs=0
#   --cfg-options model.teacher.teacher.type=FrozenTeacher
#     model.teacher.teacher.checkpoints="[work_dirs/a/epoch_30.pth,work_dirs/b/epoch_30.pth]"
_base_ = '../frac_ssl.py'
from mmfrac.utils.config import merge_config_file

merge_config_file(_base_, '../_base_/methods/posterior_snapshot.py')
# peaks are as far apart as on the maps of 80 x 80 that it was tried on; this one is of 256 x 256
model = dict(
    pseudo_pipeline=[
        dict(type='NoisyOrPosterior', teacher_alpha_r='match', window=17),
        dict(type='WarpToStudent'),
    ]
)
