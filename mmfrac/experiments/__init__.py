# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Methods x seeds on one data set, and the folds of one config: run, resumed and set side by side.

``jobs`` say what is run, ``executors`` where. May import all but ``apis``.
"""
