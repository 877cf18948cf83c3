#!/usr/bin/python3
"""options.py PROGRAM...: every option that a program's --help names is in its manual page and the other way round, and so is
every keyword of the configuration files.

Owns nothing. Must never know an option by itself: both lists are read from what users read, keywords from the tables.
"""
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
KEYWORDS = {'nexec': 'src/cmd/nexec.c', 'nexecd': 'src/cmd/nexecd_settings.c'}


def text(path):
    with open(os.path.join(TOP, path)) as f:
        return f.read()


def page_of(name):
    return text('docs/man/%s.%d' % (name, 8 if name == 'nexecd' else 1))


def helped(program):
    said = subprocess.run([program, '--help'], stdout=subprocess.PIPE, check=True, text=True).stdout
    heads = [re.split(r'(?<=\S) {2,}', line)[0] for line in said.splitlines() if re.match(r'  -', line)]
    return {word for head in heads for word in re.findall(r'(?<![\w-])(--[a-z-]+|-\w\b)', head)}


def documented(page):
    items = '\n'.join(re.findall(r'^\.It (Fl .*)', page, re.M))
    words = {'--' + w for w in re.findall(r'Fl Fl ([a-z-]+)', items)}
    return words | {'-' + w for w in re.findall(r'(?<!Fl )Fl (\w)\b(?!-)', items)}


def keywords(name):
    return set(re.findall(r'\{"([A-Z]\w+)", (?:[SO]_\w+|\'\w\')\}', text(KEYWORDS[name])))


def documented_keywords(page):
    items = re.findall(r'^\.It (Cm .*)', page.split('.Sh CONFIGURATION')[1].split('.Sh')[0], re.M)
    return {w for item in items for w in re.findall(r'(?:^|, )Cm ([A-Z]\w+)', item)} - {'Host'}


def same(what, one, other):
    if not one:
        print('%s: none found' % what)
    for word in sorted(one ^ other):
        print('%s: %s is %s only' % (what, word, 'in the program' if word in one else 'in the page'))
    return bool(one) and one == other


good = True
for program in sys.argv[1:]:
    name = os.path.basename(program)
    page = page_of(name)
    good &= same(name, helped(program), documented(page))
    if name in KEYWORDS:
        good &= same(name + "'s configuration", keywords(name), documented_keywords(page))
sys.exit(not good)
