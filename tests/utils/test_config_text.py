# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmengine.config import Config
from mmengine.config import config as stock
from yapf.yapflib.yapf_api import FormatCode

from mmfrac.utils import config_text


def test_the_text_is_that_of_mmengine_and_formatted_once(monkeypatch):
    calls = []

    def count(*args, **kwargs):
        calls.append(args)
        return FormatCode(*args, **kwargs)

    values = dict(a=dict(b=[1, 2, 3], c='text'), long=['x' * 30] * 5)
    with monkeypatch.context() as patch:
        patch.setattr(stock, 'FormatCode', FormatCode)
        wanted = Config(values).pretty_text
    monkeypatch.setattr(config_text, 'FormatCode', count)
    # which the tests leave out
    monkeypatch.setattr(stock, 'FormatCode', stock.FormatCode)
    config_text.format_once()
    config_text._formatted.cache_clear()
    cfg = Config(values)
    assert cfg.pretty_text == wanted == cfg.copy().pretty_text and len(calls) == 1
    # of another text nothing is remembered
    cfg.a.b = [1, 2, 4]
    assert '        4,\n' in cfg.pretty_text and len(calls) == 2
