# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A detector as ONNX, and what runs it without torch, mmcv, mmengine and mmdet.

``export`` writes a folder with the network's graph and a copy of ``runtime`` and of all that it imports
of mmfrac, under another name, so that it runs where mmfrac is not installed. ``runtime`` and
``preprocess`` import no torch themselves.
"""
