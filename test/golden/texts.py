"""Texts of many scripts and forms for the golden tokenizers, and a small corpus to train them on."""
from strings import STRINGS

TEXTS = STRINGS + [
    ' leading', 'trailing ', '   three   spaces   ', '\n', '\n\n\nlines\n\n  indented\r\n\ttabs\t\n', 'a\u00a0b\u2003c\u200bd\u2060e\ufefff\u180eg\u0085h\u2028i', 'x\u000by\u000cz\u001cw',
    'हिन्दी में लिखा', 'ภาษาไทยไม่มีช่องว่าง', '한국어 문장입니다. 각', '\u1112\u1161\u11ab\u1100\u1173\u11af', 'العَرَبِيَّةُ مُشَكَّلَة', 'עִבְרִית', 'தமிழ் తెలుగు ಕನ್ನಡ മലയാളം', 'ქართული հայերեն ελληνικά',
    '日本語とｶﾀｶﾅとﾊﾟ', '中文，标点。「引号」…', '𠮷野家 㐀 𪜀 丽', '👩🏽‍🚀👨‍👩‍👧‍👦🏳️‍🌈 ❤️ ☺ 1️⃣', '🇺🇳🇪', '\ue000\U000f0000\U0010ffff', 'a\u0301\u0302\u0323e\u0308\u0304 q\u0323\u0307 ñ n\u0303',
    'ﬀ ﬁ ﬃ ﬆ ㎏ ① Ⅷ ℃ ½ ² ％ ＡＢＣ ～ ㋿ ﷺ', 'İIıi ẞß ŉ ſ K Å ΣΑΣ σς', "'s 'S 'ſ it'll IT'LL we've 'VE don't I'm", '123456789 12,345.67 ٣٤٥ १२३ Ⅻ ½ 3³ 𝟘𝟙', 'snake_case CamelCase HTTPServer x1y2z3', 'a-b--c---d ... !!!??? ——', '$€£¥₹ +−×÷=≠ #@&*()[]{}<>/\\|`~^',
    'supercalifragilisticexpialidocious' * 6, 'ab' * 150, '中' * 60, ' ' * 40 + 'x', 'the film <s> was </s> good <unk><pad> <mask> . [MASK]it', '  <mask>  x<mask>y', '<s>', '</s></s>', '<|endoftext|>text<|im_start|>user\nhi<|im_end|>\n', '<|begin_of_text|><|eot_id|> a <|start_header_id|>user<|end_header_id|>',
    '<0x41><0xE2> <0x0A>', '▁under▁ ▁ __', 'Ġspace Ċ', 'do not go, n\'t \' s , . ?', ' . , \' m it \'s he \'ve do not', '[CLS] a [SEP][PAD]', '<tool> x <TOOL>y xtooly tool.', 'The <Tool>tool tool_ tools', '\x00\x01\x02\x1b[0m\x7f\x80\x9f', '\ufffd\ufffe\uffff', 'café cafe\u0301 CAFÉ', 'words\u00adsoft', '‏מימין‎ לשמאל', 'https://example.org/a?b=c&d=%20e#f user@example.org', 'def f(x):\n    return x  # done\n', '{"a": [1, 2.5e-3, null]}',
]
CORPUS = [
    'the film was good and the plot was bad', 'it is not the film that we have seen', 'a very good actor in a very bad scene', "don't say that it's free, they'll know", 'The quick brown fox jumps over the lazy dog.', 'THE END OF THE FILM', '1234567890 in 2024 and 1999',
    'über straße café naïve Ångström', 'мы видели этот фильм вчера вечером', 'der Film war nicht schlecht', 'el actor no está en la escena', '中文和日本語の文章', '한국어 문장', 'ภาษาไทย', 'हिन्दी में', 'العربية', 'עברית', 'emoji 😀 ❤', 'def f(x):\n    return x', 'hello hello hello world world', 'ΟΔΟΣ σοφός', 'user assistant system',
    'x = y + z; print(x)', 'we are in the scene of this plot and that film', 'information station nation relation', '  two  spaces   three    four',
] * 4
