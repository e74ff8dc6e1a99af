# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The back end against a recorder with MLflow's rule for names; MLflow itself is no requirement."""

import re
import sys
from types import SimpleNamespace

import pytest

from mmfrac.visualization import FracMLflowVisBackend

# https://mlflow.org: "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.),
# spaces ( ), colon(:) and slashes (/)"
ALLOWED = re.compile(r'[A-Za-z0-9_\-. :/]+')


@pytest.fixture
def mlflow(monkeypatch):
    logged, uris, places = {}, [], []

    def log_metric(name, value, step):
        assert ALLOWED.fullmatch(name), name
        logged.setdefault(name, []).append((value, step))

    def log_metrics(values, step):
        for name, value in values.items():
            log_metric(name, value, step)

    module = SimpleNamespace(
        logged=logged,
        uris=uris,
        places=places,
        log_metric=log_metric,
        log_metrics=log_metrics,
        set_tracking_uri=uris.append,
        get_experiment_by_name=lambda name: None,
        create_experiment=lambda name, artifact_location: places.append(artifact_location),
        set_experiment=lambda name: None,
    )
    monkeypatch.setitem(sys.modules, 'mlflow', module)
    return module


def test_metrics_have_names_that_mlflow_takes(mlflow, tmp_path):
    backend = FracMLflowVisBackend(save_dir=str(tmp_path))
    backend.add_scalars({'frac/AUROC': 0.9, 'frac/Recall@0.1': 0.5, 'frac/Recall@0.5': 0.7}, step=3)
    backend.add_scalar('a%b', 1.0, step=4)
    assert mlflow.logged == {
        'frac/AUROC': [(0.9, 3)],
        'frac/Recall at 0.1': [(0.5, 3)],
        'frac/Recall at 0.5': [(0.7, 3)],
        'a_b': [(1.0, 4)],
    }


def test_runs_are_kept_in_the_work_dir_unless_told_otherwise(mlflow, tmp_path):
    FracMLflowVisBackend(save_dir=str(tmp_path)).add_scalar('x', 1.0)
    FracMLflowVisBackend(save_dir=str(tmp_path), tracking_uri='http://h:5000').add_scalar('x', 1.0)
    assert mlflow.uris == [f'sqlite:///{tmp_path}/mlflow.db', 'http://h:5000']
    assert mlflow.places == [f'file://{tmp_path}/mlartifacts', None]
