# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Guides are short in line and paragraph, their links lead somewhere, their commands are taken."""

import argparse
import functools
import itertools
import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from mmfrac.__main__ import script
from mmfrac.utils.packaged import config_path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('.github', 'configs', 'mmfrac', 'tools')
# written by commands
MADE = ('configs/benchmarks/*/table*.md', 'configs/models/*/README.md')
GUIDES = sorted(
    path
    for path in [
        *ROOT.glob('*.md'),
        *(file for name in FOLDERS for file in (ROOT / name).rglob('*.md')),
    ]
    if not any(fnmatch(path.relative_to(ROOT).as_posix(), made) for made in MADE)
)
EACH_GUIDE = pytest.mark.parametrize(
    'guide', GUIDES, ids=lambda path: path.relative_to(ROOT).as_posix()
)

# shell scripts that hand on what follows these many arguments, and the ones of them that the tool gets
LAUNCHERS = {
    'dist_train.sh': ('train.py', 2, [0]),
    'dist_test.sh': ('test.py', 3, [0, 1]),
    'slurm_train.sh': ('train.py', 4, [2]),
    'slurm_test.sh': ('test.py', 4, [2, 3]),
}
# commands that are not ours
OTHERS = {
    'cat',
    'cd',
    'cp',
    'docker',
    'git',
    'head',
    'ls',
    'pip',
    'source',
    'tensorboard',
    'xz',
} | {*('Orthanc', 'curl', 'storescu')}
# names that a guide gives to a file of the reader's
OWN = re.compile(r'(^|/)(my_|mine)')
TROUBLE = ROOT / 'tools/TROUBLESHOOTING.md'
# error texts of other libraries
FOREIGN = re.compile(
    'MMCV==|ModuleNotFoundError|libGL|undefined symbol|mmcv/_ext|is not in the mmdet'
    '|mmengine does not|Weights|frac/AUROC|DataLoader worker|CUDA out of memory'
    '|Address already in use'
)


# ---- reading --------------------------------------------------------------------------------------


def parts(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """Yield kind ('text', 'table' or the language of a code block), first line and lines of a guide."""
    kind, start, lines = '', 0, []
    for number, line in enumerate(text.splitlines(), 1):
        if kind.startswith('```'):
            if line.strip() == '```':
                yield kind.strip('`') or 'output', start, lines
                kind, lines = '', []
            else:
                lines.append(line)
            continue
        opens = re.match(r' *(```\w*)$', line)
        new = opens[1] if opens else 'table' if line.lstrip().startswith('|') else 'text'
        is_item = re.match(r' *([-*]|\d+\.) ', line) or line.startswith('#')
        if kind and (new != kind or not line.strip() or is_item):
            yield kind, start, lines
            kind, lines = '', []
        if not kind:
            kind, start = new, number
        if opens:
            lines = []
        elif line.strip():
            lines.append(line)
        else:
            kind = ''
    assert not kind.startswith('```'), f'the code block of line {start} has no end'
    if kind:
        yield kind, start, lines


def prose(text: str) -> str:
    """Return a guide without its code blocks."""
    return '\n'.join(
        '\n'.join(lines) for kind, _, lines in parts(text) if kind in ('text', 'table')
    )


def anchors(text: str) -> set[str]:
    """Return what the headings of a guide are called in links, as GitHub names them."""
    headings = re.findall(r'^#+ (.+)$', prose(text), re.MULTILINE)
    slugs = [re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings]
    return {
        slug if not (n := slugs[:i].count(slug)) else f'{slug}-{n}' for i, slug in enumerate(slugs)
    }


def without_substitutions(text: str) -> str:
    """Put a word in the place of every ``$(...)``."""
    while '$(' in text:
        start = text.index('$(')
        depth = 0
        for end in range(start + 1, len(text)):
            depth += {'(': 1, ')': -1}.get(text[end], 0)
            if depth == 0:
                break
        text = text[:start] + 'SUBSTITUTED' + text[end + 1 :]
    return text


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every command of a bash block, its variables put in."""
    variables: dict[str, str] = {}
    for line in without_substitutions(re.sub(r'\\\n', ' ', text)).splitlines():
        line = re.sub(r'\$\{?(\w+)\}?', lambda name: variables.get(name[1], 'VALUE'), line)
        lexer = shlex.shlex(line, posix=True, punctuation_chars=';|&')
        lexer.whitespace_split = True
        for ends, group in itertools.groupby(lexer, lambda word: set(word) <= set(';|&')):
            words = list(group)
            while words and (assigned := re.fullmatch(r'(\w+)=(.*)', words[0], re.DOTALL)):
                variables[assigned[1]] = assigned[2]
                words = words[1:]
            if words and not ends:
                yield words


# ---- following a command --------------------------------------------------------------------------


@functools.cache
def tool(path: Path) -> dict:
    """Names of a tool, which is not run."""
    assert path.is_file(), f'there is no {path}'
    sys.path.insert(0, str(path.parent))
    try:
        return runpy.run_path(str(path), run_name='guide')
    finally:
        sys.path.remove(str(path.parent))


def accept(path: Path, arguments: list[str]) -> None:
    """Have a tool parse its arguments, every option by its whole name."""
    whole_names = functools.partialmethod(argparse.ArgumentParser.__init__, allow_abbrev=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, '__init__', whole_names)
        patch.setattr(sys, 'argv', [path.name, *arguments])
        try:
            tool(path)['parse_args']()
        except SystemExit as error:
            assert not error.code, f'{path.name} refuses {arguments}'


def follow(words: list[str]) -> None:
    """Raise unless a command exists, takes these arguments, and the configs named in it are there."""
    for word in words:
        if word.startswith('mmfrac::'):
            config_path(word)
        elif word.startswith('configs/') and word.endswith('.py') and not OWN.search(word):
            assert list(ROOT.glob(word)), f'there is no {word}'
    if words[0] == '/usr/bin/time':
        words = [word for word in words[1:] if word != '-v']
    if words[0] == 'torchrun' and 'mmfrac' in words:
        words = words[words.index('mmfrac') :]
    first, *rest = words
    if first == 'mmfrac' and rest and not rest[0].startswith('-'):
        path, _, arguments = script(rest[0], rest[1:])
        accept(path, arguments)
    elif first == 'python' and rest[0].startswith('tools/'):
        accept(ROOT / rest[0], rest[1:])
    elif first == 'bash':
        follow_shell(ROOT / rest[0], rest[1:])
    else:
        assert first in {*OTHERS, 'mmfrac', 'python'}, f'what is {first}?'


def follow_shell(path: Path, arguments: list[str]) -> None:
    assert path.is_file(), f'there is no {path}'
    if path.name in LAUNCHERS:
        name, count, handed_on = LAUNCHERS[path.name]
        assert len(arguments) >= count, f'{path.name} takes {count} arguments'
        accept(path.with_name(name), [*(arguments[i] for i in handed_on), *arguments[count:]])
        return
    usage = path.read_text().partition('TEXT\n}')[0]
    for word in arguments:
        if word.startswith('--'):
            assert word in usage.split(), f'{path.name} has no {word}'
        elif word.startswith('tests'):
            assert (ROOT / word).exists(), f'there is no {word}'


# ---- the guides -----------------------------------------------------------------------------------


def test_readme_is_one_page_and_names_the_first_commands():
    text = (ROOT / 'README.md').read_text()
    assert len(text.splitlines()) <= 150
    named = [
        ' '.join(words)
        for kind, _, lines in parts(text)
        if kind == 'bash'
        for words in commands('\n'.join(lines))
    ]
    for command in ('mmfrac demo', 'bash tools/quickstart.sh', 'bash tools/run_tests.sh'):
        assert command in named


def test_figures_of_the_readme_are_published():
    tables = '\n'.join(path.read_text() for path in ROOT.glob('configs/benchmarks/*/table*.md'))
    section = (ROOT / 'README.md').read_text().split('## What helps when')[1].split('\n## ')[0]
    means = re.findall(r'0\.\d{3} ± 0\.\d{3}', section)
    assert len(means) > 15 and all(f'| {mean} |' in tables for mean in means)
    number = r'([+-]\d+\.\d+)'
    published = set()
    for found in re.findall(rf'{number} \({number} to {number}\)', tables):
        value, low, high = map(float, found)
        published |= {
            f'({value:+.1f}: {low:+.1f} to {high:+.1f})',
            f'({-value:+.1f}: {-high:+.1f} to {-low:+.1f})',
        }
    differences = re.findall(rf'\({number[1:-1]}: [^)]*\)', section)
    assert len(differences) > 8 and set(differences) <= published


def test_every_box_detector_is_named():
    guide = (ROOT / 'tools/analysis_tools/README.md').read_text()
    section = guide.split('## Box detectors')[1].split('\n## ')[0]
    named = re.sub(r'[\s-]', '', section).lower()
    detectors = {path.stem.replace('_', '') for path in ROOT.glob('configs/compare/*.py')}
    assert detectors and {name for name in detectors if name not in named} == set()


def test_every_guide_can_be_reached_from_the_readme():
    reached, new = set(), {ROOT / 'README.md'}
    while new:
        reached |= new
        links = {(path.parent / target).resolve() for path in new for target, _ in links_of(path)}
        new = {path for path in links if path in GUIDES} - reached
    assert set(GUIDES) - reached == set()


@EACH_GUIDE
def test_lines_and_paragraphs_are_short(guide):
    long = []
    for kind, start, lines in parts(guide.read_text()):
        if kind == 'text':
            long += [start + i for i, line in enumerate(lines) if len(line) > 160]
            long += [start] if len(lines) > 5 else []
    assert long == []


def links_of(guide: Path) -> list[tuple[str, str]]:
    """Path and anchor of every relative link of a guide."""
    text = re.sub(r'`[^`\n]*`', '', prose(guide.read_text()))
    targets = re.findall(r'\]\(([^)\s]+)\)', text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    return [target.partition('#')[::2] for target in targets if not re.match(r'\w+:', target)]


@EACH_GUIDE
def test_links_lead_somewhere(guide):
    for target, anchor in links_of(guide):
        path = guide.parent / target if target else guide
        assert path.exists(), f'there is no {target}'
        if anchor:
            assert anchor in anchors(path.read_text()), f'{target} has no #{anchor}'


@EACH_GUIDE
def test_commands_are_taken(guide):
    for kind, start, lines in parts(guide.read_text()):
        if kind == 'bash':
            for words in commands('\n'.join(lines)):
                try:
                    follow(words)
                except (AssertionError, OSError, SystemExit) as error:
                    raise AssertionError(f'{guide}, line {start}: {shlex.join(words)}') from error


@EACH_GUIDE
def test_commands_and_paths_in_the_text_exist(guide):
    for code in re.findall(r'`([^`\n]+)`', prose(guide.read_text())):
        if '...' in code or code.endswith(':'):  # a message
            continue
        if re.match(r'(python|bash) tools/\S+ |mmfrac [a-z-]+ ', code):
            for words in commands(code):
                # a command alone is a name
                if len(words) > (3 if words[1] == 'convert' else 2):
                    follow(words)
                else:
                    script(words[1], words[2:])
        elif re.match(
            r'(configs|tools|mmfrac|requirements|tests)/[\w./*-]*$', code
        ) and not OWN.search(code):
            assert list(ROOT.glob(code.rstrip('/'))), f'there is no {code}'


@EACH_GUIDE
def test_examples_can_be_read(guide):
    for kind, start, lines in parts(guide.read_text()):
        text = '\n'.join(lines)
        if kind == 'python':
            compile(text, f'{guide}, line {start}', 'exec')
            for base in re.findall(r"^_base_ = '(.+)'", text, re.MULTILINE):
                if base.startswith('mmfrac::'):
                    config_path(base)
                else:
                    assert (ROOT / 'configs' / base).is_file(), base
        elif kind == 'json':
            json.loads(text)


def test_error_texts_are_those_of_the_code():
    files = [path for name in ('mmfrac', 'tools') for path in (ROOT / name).rglob('*.*')]
    source = '\n'.join(path.read_text() for path in files if path.suffix in ('.py', '.sh'))
    # literals that go on in the next line are one text, and what is put in is left out
    source = re.sub(r'[\'"]\n +f?[\'"]', '', source).replace('\\n', ' ')
    source = re.sub(r'\{[^{}\n]*\}', '...', source)
    texts = re.findall(
        r'^\*\*(`.+?`)\*\*', TROUBLE.read_text().replace('`,\n`', '`, `'), re.MULTILINE
    )
    quoted = [text for bold in texts for text in re.findall(r'`(.+?)`', bold)]
    lacking = [
        part
        for text in quoted
        for part in re.split(r'\.\.\.|FILE', text)
        if len(part.strip(" :()`'")) > 7 and part.strip() not in source and not FOREIGN.search(text)
    ]
    assert len(quoted) > 20
    assert lacking == []


# ---- what is not taken ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    'command',
    [
        'python tools/train.py configs/frac_ssl.py --no-such-option',
        'python tools/train.py configs/frac_ssl.py --work-di runs',  # part of a name
        'python tools/train.py',
        'python tools/train.py configs/no_such.py',
        'python tools/trian.py configs/frac_ssl.py',
        'GPUS=4 bash tools/slurm_train.sh gpu job configs/frac_ssl.py work_dirs/x --nope',
        'bash tools/dist_test.sh configs/frac_ssl.py a.pth 4 --nope',
        'bash tools/dist_train.sh configs/frac_ssl.py',
        'bash tools/quickstart.sh --fast',
        'bash tools/run_tests.sh tests/no_such',
        'mmfrac trian configs/frac_ssl.py',
        'mmfrac infer films',
        'mmfrac train mmfrac::no_such.py',
        'mmfrac convert no-such a b c',
        'mmfrc demo',
        "val='--nope x'; python tools/test.py configs/frac_ssl.py $(cat last) $val",
    ],
)
def test_a_wrong_command_is_found(command):
    with pytest.raises((AssertionError, OSError, SystemExit)):
        for words in commands(command.replace('; ', '\n')):
            follow(words)


def test_words_of_a_block():
    block = """run=work_dirs/x val='--cfg-options a.b=c'
    python tools/test.py $run/a.pth \\
        --out "a b" $val      # a remark
    x=$(python -c 'print(f(1))')
    A=1 bash tools/dist_train.sh $x | head -n 1
    """
    assert list(commands(block)) == [
        ['python', 'tools/test.py', 'work_dirs/x/a.pth', '--out', 'a b', '--cfg-options', 'a.b=c'],
        ['bash', 'tools/dist_train.sh', 'SUBSTITUTED'],
        ['head', '-n', '1'],
    ]


def test_parts_of_a_guide():
    text = (
        '# A-b c: d\n\nOne\ntwo.\n- Item\n  goes on.\n- Other\n\n| a |\n| b |\n'
        '```bash\n# x\n\ny\n```\nEnd.\n## A-b c: d\n'
    )
    assert [(kind, start, len(lines)) for kind, start, lines in parts(text)] == [
        ('text', 1, 1),
        ('text', 3, 2),
        ('text', 5, 2),
        ('text', 7, 1),
        ('table', 9, 2),
        ('bash', 11, 3),
        ('text', 16, 1),
        ('text', 17, 1),
    ]
    assert anchors(text) == {'a-b-c-d', 'a-b-c-d-1'}
