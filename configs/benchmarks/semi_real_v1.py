# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/semi_real_v1.py --data-root FOLDER
# Real chest films with synthetic fractures: 66 with boxes, 260 with the label alone, 353 negatives.
# The methods are those of phantom-v2. With the weights tried there, 1 and 30, L_semi drowned the films
# with boxes whatever the method, on the validation films too: the KLD gets 0.1 and 1, and the squared
# errors and the soft focal loss, which are smaller, 1 and 30. The window loss takes the value chosen
# there: with the other it does not learn.
_base_ = 'phantom_v2.py'
name = 'semi-real-v1'
data_root = 'data/semi_real/'
phantom = None
sup = 'configs/semi_real/frac_sup_semi_real_v1.py'
ssl = 'configs/semi_real/frac_ssl_semi_real_v1.py'
pretraining = dict(config=sup)
# those from scratch in as many steps as both stages of the others, 1000 of 16 films and 540 of 8
scratch = {
    'train_cfg.max_epochs': 11,
    'param_scheduler.1.end': 11,
    'train_dataloader.batch_sampler.epoch_length': 140,
    'train_dataloader.batch_size': 14,
}
methods = {
    name: dict(config=ssl) if method.get('pretrained', True) else dict(config=sup, options=scratch)
    for name, method in _base_.methods.items()
}
methods['window_loss'].update(
    search=False,
    options={
        **scratch,
        'model.semi_train_cfg.burn_in_epochs': 11,
        'model.detector.prob_map_head.loss.alpha_r': 100.0,
    },
)
search = dict(values=[0.1, 1.0])
small = dict(setting=_base_.search.setting, values=[1.0, 30.0])
for method in ('pi_model', 'temporal_ensembling', 'transformation_consistent', 'focal_mix'):
    methods[method]['search'] = small
# 13 positive films are too few to choose an epoch by
last_epoch = True
amp = True
