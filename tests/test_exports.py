# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What is registered can be imported from the package of its kind, and is documented."""

import importlib
import pkgutil

import mmdet.registry
import pytest
from mmengine.registry import FUNCTIONS, Registry

import mmfrac


def registered():
    for module in pkgutil.walk_packages(mmfrac.__path__, 'mmfrac.'):
        importlib.import_module(module.name)
    registries = [*vars(mmdet.registry).values(), FUNCTIONS]
    return {
        found
        for registry in registries
        if isinstance(registry, Registry)
        for found in registry.module_dict.values()
        if found.__module__ and found.__module__.startswith('mmfrac.')
    }


@pytest.mark.parametrize('kind', ['datasets', 'engine', 'evaluation', 'models', 'visualization'])
def test_registered_modules_are_exported_and_documented(kind):
    package = getattr(mmfrac, kind)
    own = [found for found in registered() if found.__module__.startswith(f'mmfrac.{kind}.')]
    assert own
    for found in own:
        assert found.__name__ in package.__all__, found
        assert getattr(package, found.__name__) is found
        assert found.__doc__


def test_nothing_is_registered_elsewhere():
    kinds = {found.__module__.split('.')[1] for found in registered()}
    assert kinds == {'datasets', 'engine', 'evaluation', 'models', 'visualization'}
