"""Makes src/science/text/tokenizer/unicode-tables.generated.ts: what Python's tokenizers take for a
mark, punctuation or a control character.

    python test/golden/unicode_tables.py      (tokenizers; a Node.js as new as can be had)

Their tables are older than those of JavaScript's engines, and differ from one another. Each code
point is tried.
"""

import json
import os
import subprocess

from tokenizers import normalizers, pre_tokenizers

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(
    HERE, '..', '..', 'src', 'science', 'text', 'tokenizer', 'unicode-tables.generated.ts'
)
POINTS = [point for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]


def ranges(holds):
    found = []
    for point in POINTS:
        if holds(chr(point)):
            if found and found[-1][1] == point - 1:
                found[-1][1] = point
            else:
                found.append([point, point])
    return found


def packed(found):
    """Each range's distance from the one before and its length less one, in base 36."""
    digits = '0123456789abcdefghijklmnopqrstuvwxyz'

    def base36(number):
        return base36(number // 36).lstrip('0') + digits[number % 36] if number else '0'

    words, last = [], 0
    for start, end in found:
        words.append(base36(start - last) + ('' if start == end else '-' + base36(end - start)))
        last = end
    return ' '.join(words)


bert = normalizers.BertNormalizer(
    clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False
)
stripping = normalizers.BertNormalizer(
    clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False
)
accents = normalizers.StripAccents()
punctuation = pre_tokenizers.Punctuation()
bert_punctuation = pre_tokenizers.BertPreTokenizer()
for point in POINTS:  # the two agree
    assert (len(punctuation.pre_tokenize_str(f'a{chr(point)}a')) == 3) == (
        len(bert_punctuation.pre_tokenize_str(f'a{chr(point)}a')) == 3
    )
tables = [
    (
        'REMOVED',
        'What BertNormalizer removes when it cleans a text.',
        ranges(lambda c: bert.normalize_str(c) == ''),
    ),
    (
        'MARKS_NONSPACING',
        'What BertNormalizer takes for an accent.',
        ranges(lambda c: stripping.normalize_str(c) == ''),
    ),
    (
        'MARKS',
        'What StripAccents takes for an accent.',
        ranges(lambda c: accents.normalize_str(c) == ''),
    ),
    (
        'PUNCTUATION',
        'Punctuation, for BertPreTokenizer and Punctuation.',
        ranges(lambda c: len(punctuation.pre_tokenize_str(f'a{c}a')) == 3),
    ),
]


def changed_in_javascript(form, suffix=''):
    code = (
        'const all = []; for (let p = 0; p < 0x110000; p++) { const t = String.fromCodePoint(p) + SUFFIX;'
        ' if ((p < 0xd800 || p > 0xdfff) && t.normalize(FORM) !== t) all.push(p); } console.log(JSON.stringify(all));'
    )
    return set(
        json.loads(
            subprocess.check_output(
                ['node', '-e', code.replace('FORM', repr(form)).replace('SUFFIX', ascii(suffix))]
            )
        )
    )


# A mark moves behind U+0334, whose class is the lowest, unless it is taken for no mark. Then it
# also keeps marks apart.
TILDE = '\u0334'
nfd = normalizers.NFD()
moves = changed_in_javascript('NFD', TILDE)
marks_since = {
    point for point in moves if nfd.normalize_str(chr(point) + TILDE) == chr(point) + TILDE
}


def kept_by(form):
    normalizer, changed = getattr(normalizers, form)(), changed_in_javascript(form)
    return ranges(
        lambda c: ord(c) in marks_since or (ord(c) in changed and normalizer.normalize_str(c) == c)
    )


for composed, decomposed in [('NFC', 'NFD'), ('NFKC', 'NFKD')]:
    kept = kept_by(composed)
    assert kept == kept_by(decomposed), 'the two forms need a table each'
    tables.append(
        (
            f'KEPT_{composed}',
            f"What the tokenizers' {composed} and {decomposed} leave as is and treat as no mark, "
            'unlike current Unicode.',
            kept,
        )
    )
with open(OUT, 'w') as file:
    file.write(
        "/**\n"
        " * Sets of characters as Python's tokenizers have them, made by test/golden/unicode_tables.py. Each\n"
        " * word is a range, in base 36: how far its first character is from the last of the range before\n"
        " * (from 0 for the first range) and, after `-`, its length less one, which is left out if it is 0.\n"
        ' */\n'
    )
    for name, what, found in tables:
        words, lines = packed(found).split(' '), ['']
        for word in words:
            if len(lines[-1]) + len(word) > 90:
                lines.append('')
            lines[-1] += (' ' if lines[-1] else '') + word
        body = ' +\n'.join(
            f"  '{line}{' ' if i < len(lines) - 1 else ''}'" for i, line in enumerate(lines)
        )
        file.write(f'\n/** {what} */\nexport const {name} =\n{body};\n')
