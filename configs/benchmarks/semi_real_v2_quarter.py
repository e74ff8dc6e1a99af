# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/semi_real_v2_quarter.py \
#     --data-root FOLDER
# The rows of semi_real_v2.py that decide, with a quarter of the boxes, nothing else changed.
_base_ = 'semi_real_v2.py'
name = 'semi-real-v2-quarter'
pretraining = dict(config='configs/semi_real/frac_sup_semi_real_v2_quarter.py')
ssl = 'configs/semi_real/frac_ssl_semi_real_v2_quarter.py'
deciding = ['supervised', 'mean_teacher', 'temporal_ensembling', 'aals', 'ours', 'mil']
deciding += ['certain_cells_two_views', 'plus', 'plus_image_head', 'posterior_snapshot']
deciding += ['posterior_student', 'posterior_match', 'image_head_alone']
methods = {key: dict(_base_.methods[key], config=ssl) for key in deciding}
methods['_delete_'] = True
# what was tried with ours on folds, and did not help: 2 P_hos, 4 negatives and 6 P_pub a step, the label
# as a loss beside L_semi, strong views of all training films
strong = dict(type='StrongIntensity', gamma=0.3)
steps = 'train_dataloader.dataset.datasets.{}.pipeline.3'.format
views = (steps(0), steps(1), f'{steps(2)}.unsup_student.0')
mil = [dict(type='KLDLoss'), dict(type='MILLoss', pool='top_k', k=10, loss_weight=0.1)]
tried = dict(
    plus_pub=(
        'Ours, plus, 6 P_pub a step',
        {'train_dataloader.batch_sampler.source_ratio': [1, 2, 3]},
    ),
    plus_mil=('Ours, plus, MIL', {'model.semi_loss': mil}),
    plus_strong=('Ours, plus, strong views', dict.fromkeys(views, strong)),
)
methods.update(
    {
        key: dict(methods['plus'], label=text, options=options)
        for key, (text, options) in tried.items()
    }
)
