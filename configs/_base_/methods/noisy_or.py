# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Localization with limited supervision [7]: films with label 1 and no boxes train the network by the
# noisy-OR of the map's cells, without a teacher, beside films with boxes and negatives.
model = dict(_delete_=True, **_base_.model.detector)
model['prob_map_head'] = dict(model['prob_map_head'], loss=dict(type='NoisyOrLoss', grid=32))
sources = _base_.train_dataloader.dataset.datasets
sources = [dict(source, pipeline=_base_.train_pipeline) for source in sources]
train_dataloader = dict(dataset=dict(datasets=sources))
