# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# CheXNet [17] with CAM [18]: an image classifier on all films with a label, P_pub too; its class
# activation map, of stride 32, is the prob map. Same backbone, films, batches and steps as the base.
detector = _base_.model.detector
model = dict(
    _delete_=True,
    type='CAMClassifier',
    data_preprocessor=detector.data_preprocessor,
    backbone=detector.backbone,
    in_channels=detector.neck.in_channels[-1],
)
sources = _base_.train_dataloader.dataset.datasets
sources = [dict(source, pipeline=_base_.train_pipeline) for source in sources]
train_dataloader = dict(dataset=dict(datasets=sources))
