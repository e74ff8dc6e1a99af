# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/detectors_phantom.py --seeds 0 1 2
# Box detectors of mmdet beside ours on the phantom films of tools/quickstart.sh: 700 steps of 16 films
# each, from scratch, no search.
name = 'detectors-phantom'
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
scratch = dict(pretrained=False, search=False)
ours, boxes = 'configs/phantom/', 'configs/compare/phantom/'
methods = dict(
    ours=dict(scratch, config=ours + 'frac_ssl_phantom.py', label='Dynamic sharpening'),
    supervised=dict(scratch, config=ours + 'frac_sup_phantom.py', label='Supervised prob map'),
    retinanet=dict(scratch, config=boxes + 'retinanet.py', label='RetinaNet'),
    faster_rcnn=dict(scratch, config=boxes + 'faster_rcnn.py', label='Faster R-CNN'),
    fcos=dict(scratch, config=boxes + 'fcos.py', label='FCOS'),
    atss=dict(scratch, config=boxes + 'atss.py', label='ATSS'),
    rtmdet=dict(scratch, config=boxes + 'rtmdet.py', label='RTMDet'),
    soft_teacher=dict(scratch, config=boxes + 'soft_teacher.py', label='SoftTeacher'),
)
reference = 'ours'
