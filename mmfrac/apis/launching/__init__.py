# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Tools run in processes of their own, each in a work dir that it has to itself."""

from .config_file import write_config
from .fingerprint import fingerprint
from .processes import Processes, Stopped, exit_on_sigterm
from .work_dir_lock import locked

__all__ = ['Processes', 'Stopped', 'exit_on_sigterm', 'fingerprint', 'locked', 'write_config']
