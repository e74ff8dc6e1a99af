# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/detectors_phantom.py
# Box detectors of MMDetection beside prob maps on the films of tools/quickstart.sh: as many steps, the
# same batches, from scratch.
name = 'phantom, box detectors'
data_root = 'data/phantom/'
phantom = dict(
    counts=dict(
        train=dict(P_hos=60, N_hos=240, P_pub=240, N_pub=360),
        val=dict(P_hos=30, N_hos=50),
        test=dict(P_hos=60, N_hos=100),
    ),
    size=256,
    seed=0,
    difficulty=0.05,
)
boxes = 'configs/compare/phantom/{}.py'.format
# of SoftTeacher alone
pretraining = dict(config=boxes('faster_rcnn_burn_in'))
methods = dict(
    retinanet=dict(config=boxes('retinanet'), label='RetinaNet', pretrained=False),
    faster_rcnn=dict(config=boxes('faster_rcnn'), label='Faster R-CNN', pretrained=False),
    fcos=dict(config=boxes('fcos'), label='FCOS', pretrained=False),
    atss=dict(config=boxes('atss'), label='ATSS', pretrained=False),
    rtmdet=dict(config=boxes('rtmdet'), label='RTMDet', pretrained=False),
    soft_teacher=dict(config=boxes('soft_teacher'), label='SoftTeacher'),
    supervised=dict(
        config='configs/phantom/frac_sup_phantom.py', label='Prob map, supervised', pretrained=False
    ),
    ours=dict(
        config='configs/phantom/frac_ssl_phantom.py', label='Dynamic sharpening', pretrained=False
    ),
)
reference = 'ours'
