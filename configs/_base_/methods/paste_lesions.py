# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# Lesions with boxes are pasted into other images of the step, of P_pub, too. Not in the paper.
model = dict(batch_augments=[dict(type='PasteLesions')])
