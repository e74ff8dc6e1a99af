# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Film files, DICOM and raster, as float32 planes in [0, 1]."""
