# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# tools/dist_train.sh configs/frac_ssl.py 4
# Dynamic-sharpening semi-supervised training (paper, section 2): 10 burn-in epochs of L_sup, then
# L_sup + L_semi. The paper's two-stage form starts from a supervised model:
#   --cfg-options load_from=work_dirs/frac_sup/best_frac_AUROC_epoch_30.pth
#     model.semi_train_cfg.burn_in_epochs=0
# Mixed precision: --amp.
_base_ = [
    '_base_/models/semi_prob_map_r50_fpn.py',
    '_base_/datasets/cxr_semi.py',
    '_base_/schedules/adam_30e.py',
    '_base_/default_runtime.py',
]
