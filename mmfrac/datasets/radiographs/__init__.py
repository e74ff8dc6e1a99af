# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Film files, DICOM and raster, as float32 images in [0, 1].

``read`` asks once what a file is; ``dicom`` and ``raster`` decode it, ``grey_scale`` makes stored values
grey values. May import ``utils`` only.
"""
