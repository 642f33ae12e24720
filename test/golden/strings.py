"""Strings and pairs that tokenizers tend to disagree on, shared by the golden scripts."""
STRINGS = [
    '', ' ', 'The film was very good!', 'THE FILM WAS NOT GOOD.', "it's a1-plot, isn't it?", 'meeting meeter unmeetable',
    'naïve café Ångström façade', 'İstanbul ıssız', 'ΟΔΟΣ σοφός', 'straße ﬁne ½', '中文 and 日本語, 한국어', '\U00020000\U0002a6df x\U0002f800y', 'emoji 😀👩‍👩‍👧 🇫🇷!',
    'tabs\tand\nlines\r\nand\u00a0spaces\u3000here', 'zero\u200bwidth\u200djoin\ufeff bom', 'control\x00\x07\x7f\ufffd gone', 'soft\u00adhyphen',
    '[CLS] in [MASK] text [SEP] [UNK] [pad]', '##ing ## #', '$100,000.00 free!!! (50% off) <b>now</b> http://a.b/c?d=e&f', 'a' * 101 + ' ' + 'b' * 99, 'e\u0301 vs \u00e9; \u0958 \u0915\u093c',
    'מַזָּל tov العربية ไทย हिन्दी', '“quotes” — dashes… and ‘more’ «guillemets»', '¿Qué? ¡Sí!', 'x²+y₂=√z ∑ ≤ ≥', 'Don\u2019t stop', 'A.B.C.D  e  f', 'word' * 30,
]
PAIRS = [['the film was good', 'not very bad'], ['a', 'the very good money meet film plot actor scene time in of to and'], ['the very good money meet film plot actor scene time in of to and', 'a'],
         ['the film was bad and it is not free', 'you are in the scene of this plot and that film'], ['', 'the film'], ['the film', ''], ['a b c d e f g', 'h i j k l m n o']]
LENGTHS = [3, 5, 8, 9, 12, 64]
