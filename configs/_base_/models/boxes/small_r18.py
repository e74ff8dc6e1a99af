# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Backbone and neck of prob_map_r18_small.py for box detectors, from scratch. The pyramid begins at
# stride 4: on a film of 256 px a lesion measures 13 to 23 px. Two-stage detectors keep fewer proposals.
small_backbone = dict(depth=18, base_channels=16, stem_channels=16, init_cfg=None)
small_neck = dict(in_channels=[16, 32, 64, 128], out_channels=32, start_level=0)
small_strides = [4, 8, 16, 32, 64]
small_proposals = dict(nms_pre=300, max_per_img=100)
