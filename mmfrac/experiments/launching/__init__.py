# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Tools run in processes of their own, each in a work dir that it has to itself.

May import ``engine`` and ``utils``.
"""

from mmfrac.experiments.launching.config_file import write_config
from mmfrac.experiments.launching.fingerprint import fingerprint
from mmfrac.experiments.launching.processes import Processes, Stopped, exit_on_sigterm
from mmfrac.experiments.launching.work_dir_lock import locked

__all__ = ['Processes', 'Stopped', 'exit_on_sigterm', 'fingerprint', 'locked', 'write_config']
