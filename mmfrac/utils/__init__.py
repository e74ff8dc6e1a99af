# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What everybody needs and what needs nothing of mmfrac: files, processes, configs, errors.

May import nothing of mmfrac but its version.
"""
