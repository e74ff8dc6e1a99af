# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
_base_ = 'prob_map_r18_small.py'
from mmfrac.utils.config import merge_config_file

merge_config_file(_base_, '../stages/teacher_student.py')
custom_hooks = []
