# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch

from tests.models.small_model import build, detector_cfg


def test_logits_are_in_fp32_under_autocast():
    head = build(detector_cfg()).prob_map_head
    feats = [torch.randn(1, 16, 64 >> level, 64 >> level) for level in range(4)]
    seen = []
    head.fuse_conv.register_forward_hook(lambda module, args, out: seen.append(out))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        logits = head(feats)
    assert logits.dtype == torch.float32
    # cells that bf16 makes equal are not
    assert len(logits.unique()) > 4 * len(logits.bfloat16().unique())
    assert torch.equal(logits, head.logit_conv(seen[0].float()))


def test_a_head_in_bf16_stays_in_it():
    head = build(detector_cfg()).prob_map_head.bfloat16()
    feats = [torch.randn(1, 16, 64 >> level, 64 >> level).bfloat16() for level in range(4)]
    assert head(feats).dtype == torch.bfloat16
