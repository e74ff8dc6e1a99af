# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmengine.config import Config

from mmfrac.experiments import hold_out
from mmfrac.experiments.hold_out import HoldOut, HoldOutStatus
from mmfrac.experiments.jobs import Processes
from mmfrac.experiments.results import write_result


def test_other_weights_of_the_same_name_are_evaluated_anew(tmp_path, monkeypatch):
    evaluated = []
    monkeypatch.setattr(
        hold_out, 'evaluate_detectors', lambda *arguments: evaluated.append(arguments) or False
    )
    checkpoints = [tmp_path / f'fold{fold}/best_frac_AUROC_epoch_3.pth' for fold in range(2)]
    for path in checkpoints:
        path.parent.mkdir()
        path.write_bytes(b'weights')
    job = HoldOut(Config(), checkpoints, ['a', 'b'], tmp_path, 4.0)

    def evaluations():
        assert not job.run(Processes(), str)
        return len(evaluated)

    assert [evaluations(), evaluations()] == [1, 1]
    # trained again, with its best epoch where it was
    checkpoints[1].write_bytes(b'other weights')
    assert [evaluations(), evaluations()] == [2, 2]
    # a status of before says nothing of the weights
    before = [f'{name} {path.name}' for name, path in zip('ab', checkpoints)]
    write_result(HoldOutStatus(before, False), tmp_path / 'holdout/status.json')
    assert [evaluations(), evaluations()] == [3, 3]
    # the ensemble is written, and the weights of the folds are no longer needed
    for path in checkpoints:
        path.unlink()
    assert evaluations() == 3
    job.fingerprints[0] = 'c'
    assert evaluations() == 4
