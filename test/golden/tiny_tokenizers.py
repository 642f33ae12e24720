"""Makes test/golden/tokenizers: a tiny tokenizer of each kind with its family's real settings, and
what transformers makes of the texts of texts.py.

    python test/golden/tiny_tokenizers.py      (tokenizers, transformers, sentencepiece, protobuf)

The real charsmap of sentencepiece, nmt_nfkc, is kept once, compressed; `precompiled_charsmap` in
the files is its name.
"""

import base64
import gzip
import io
import json
import os
import shutil
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from texts import CORPUS, TEXTS
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, 'tokenizers')
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
MASK = AddedToken('<mask>', lstrip=True, special=True, normalized=False)


def special(token, **settings):
    return AddedToken(token, special=True, normalized=False, **settings)


def wordpiece(lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token='[UNK]', max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix='##', cleanup=True)
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.WordPieceTrainer(
            vocab_size=260, special_tokens=['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single='[CLS]:0 $A:0 [SEP]:0',
        pair='[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1',
        special_tokens=[('[CLS]', 2), ('[SEP]', 3)],
    )
    names = {
        'unk_token': '[UNK]',
        'sep_token': '[SEP]',
        'pad_token': '[PAD]',
        'cls_token': '[CLS]',
        'mask_token': '[MASK]',
    }
    return tokenizer, {**names, 'clean_up_tokenization_spaces': lowercase}


def byte_bpe(first, pre_tokenizer, normalizer=None, last=(), **settings):
    """A byte-level BPE: its special tokens come first or last in the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=256 + len(first) + 150,
            special_tokens=list(first),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    parts = json.loads(tokenizer.to_str())['model']
    vocab, merges = parts['vocab'], [tuple(merge) for merge in parts['merges']]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, **settings))
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer, made.decoder = pre_tokenizer, decoders.ByteLevel()
    made.add_tokens(list(first))
    made.add_tokens(list(last))
    return made


def gpt2():
    end = AddedToken('<|endoftext|>', special=True, normalized=True)
    tokenizer = byte_bpe(
        [], pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True), last=[end]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer, {
        'bos_token': '<|endoftext|>',
        'eos_token': '<|endoftext|>',
        'unk_token': '<|endoftext|>',
        'add_prefix_space': False,
    }


def roberta(prefix=False):
    first = [special('<s>'), special('<pad>'), special('</s>'), special('<unk>')]
    tokenizer = byte_bpe(
        first, pre_tokenizers.ByteLevel(add_prefix_space=prefix, trim_offsets=True), last=[MASK]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        ('</s>', 2), ('<s>', 0), trim_offsets=True, add_prefix_space=prefix
    )
    return tokenizer, {
        'bos_token': '<s>',
        'eos_token': '</s>',
        'sep_token': '</s>',
        'cls_token': '<s>',
        'unk_token': '<unk>',
        'pad_token': '<pad>',
        'mask_token': {
            '__type': 'AddedToken',
            'content': '<mask>',
            'lstrip': True,
            'normalized': False,
            'rstrip': False,
            'single_word': False,
        },
    }


def split(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior='isolated', invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
        ]
    )


def llama3():
    last = [
        special(token)
        for token in [
            '<|begin_of_text|>',
            '<|end_of_text|>',
            '<|start_header_id|>',
            '<|end_header_id|>',
            '<|eot_id|>',
        ]
    ]
    tokenizer = byte_bpe([], split(LLAMA3), last=last, ignore_merges=True)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single='<|begin_of_text|>:0 $A:0',
                pair='<|begin_of_text|>:0 $A:0 <|begin_of_text|>:1 $B:1',
                special_tokens=[('<|begin_of_text|>', tokenizer.token_to_id('<|begin_of_text|>'))],
            ),
        ]
    )
    return tokenizer, {
        'bos_token': '<|begin_of_text|>',
        'eos_token': '<|eot_id|>',
        'clean_up_tokenization_spaces': True,
    }


def qwen2():
    last = [
        special('<|endoftext|>'),
        special('<|im_start|>'),
        special('<|im_end|>'),
        AddedToken('<tool>', special=False, normalized=False),
        AddedToken('tool', single_word=True, special=False, normalized=True),
    ]
    tokenizer = byte_bpe([], split(QWEN2), normalizers.NFC(), last=last)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    decoder = {
        str(tokenizer.token_to_id(token.content)): json.loads(json.dumps(token.__getstate__()))
        for token in last
    }
    return tokenizer, {
        'add_prefix_space': False,
        'added_tokens_decoder': decoder,
        'additional_special_tokens': ['<|im_start|>', '<|im_end|>'],
        'bos_token': None,
        'eos_token': '<|im_end|>',
        'pad_token': '<|endoftext|>',
        'errors': 'replace',
        'split_special_tokens': False,
        'unk_token': None,
    }


def modernbert():
    first = [special('<|padding|>'), special('<|endoftext|>')]
    spaces = [AddedToken(' ' * n, special=False, normalized=True) for n in range(8, 1, -1)]
    last = [special(token) for token in ['[UNK]', '[CLS]', '[SEP]', '[PAD]']] + [
        special('[MASK]', lstrip=True)
    ]
    tokenizer = byte_bpe(
        first,
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True),
        normalizers.NFC(),
        last=spaces + last,
    )
    ids = [(token, tokenizer.token_to_id(token)) for token in ['[CLS]', '[SEP]']]
    tokenizer.post_processor = processors.TemplateProcessing(
        single='[CLS]:0 $A:0 [SEP]:0', pair='[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0', special_tokens=ids
    )
    return tokenizer, {
        'unk_token': '[UNK]',
        'sep_token': '[SEP]',
        'pad_token': '[PAD]',
        'cls_token': '[CLS]',
        'mask_token': '[MASK]',
        'clean_up_tokenization_spaces': True,
    }


def sentencepiece_bpe():
    """Vocabulary and merges as a converted sentencepiece model has them: special tokens, bytes,
    pieces.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement='▁', prepend_scheme='always', split=True
    )
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=330, limit_alphabet=120))
    parts = json.loads(tokenizer.to_str())['model']
    pieces = (
        ['<unk>', '<s>', '</s>']
        + [f'<0x{byte:02X}>' for byte in range(256)]
        + sorted(parts['vocab'], key=parts['vocab'].get)
        + ['▁▁', '▁▁▁▁']
    )
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}, [
        tuple(merge) for merge in parts['merges']
    ] + [('▁', '▁'), ('▁▁', '▁▁')]


def llama2(legacy):
    vocab, merges = sentencepiece_bpe()
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token='<unk>', fuse_unk=True, byte_fallback=True)
    )
    if legacy:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            replacement='▁', prepend_scheme='first', split=False
        )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace('▁', ' '),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=' ', left=1, right=0),
        ]
    )
    tokenizer.add_tokens(
        [AddedToken(token, special=True, normalized=False) for token in ['<unk>', '<s>', '</s>']]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single='<s>:0 $A:0', pair='<s>:0 $A:0 <s>:1 $B:1', special_tokens=[('<s>', 1)]
    )
    config = {
        'add_bos_token': True,
        'add_eos_token': False,
        'bos_token': '<s>',
        'eos_token': '</s>',
        'unk_token': '<unk>',
        'pad_token': None,
        'clean_up_tokenization_spaces': False,
    }
    return tokenizer, config


def gemma():
    vocab, merges = sentencepiece_bpe()
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token='<unk>', fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(' ', '▁')
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        ' ', behavior='merged_with_previous', invert=False
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_tokens(
        [
            special('<unk>'),
            special('<s>'),
            special('</s>'),
            special('<start_of_turn>'),
            special('<end_of_turn>'),
            AddedToken('\n\n', special=False, normalized=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single='<s>:0 $A:0', pair='<s>:0 $A:0 <s>:1 $B:1', special_tokens=[('<s>', 1)]
    )
    return tokenizer, {'bos_token': '<s>', 'eos_token': '</s>', 'unk_token': '<unk>'}


def sentencepiece_unigram():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 3),
        model_writer=model,
        vocab_size=260,
        model_type='unigram',
        hard_vocab_limit=False,
        normalization_rule_name='nmt_nfkc',
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return [
        (piece.piece, round(piece.score, 4)) for piece in proto.pieces
    ], proto.normalizer_spec.precompiled_charsmap


PIECES, CHARSMAP = sentencepiece_unigram()


def xlmr():
    vocab = (
        [('<s>', 0.0), ('<pad>', 0.0), ('</s>', 0.0), ('<unk>', 0.0)]
        + PIECES[3:]
        + [('<mask>', 0.0)]
    )
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(CHARSMAP),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(' {2,}'), '▁'),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement='▁', prepend_scheme='always', split=True
    )
    tokenizer.decoder = decoders.Metaspace(replacement='▁', prepend_scheme='always', split=True)
    tokenizer.add_tokens(
        [special('<s>'), special('<pad>'), special('</s>'), special('<unk>'), MASK]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single='<s>:0 $A:0 </s>:0',
        pair='<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0',
        special_tokens=[('<s>', 0), ('</s>', 2)],
    )
    return tokenizer, {
        'bos_token': '<s>',
        'eos_token': '</s>',
        'sep_token': '</s>',
        'cls_token': '<s>',
        'unk_token': '<unk>',
        'pad_token': '<pad>',
        'mask_token': '<mask>',
        'clean_up_tokenization_spaces': True,
    }


def deberta():
    vocab = [('[PAD]', 0.0), ('[CLS]', 0.0), ('[SEP]', 0.0), ('[UNK]', 0.0)] + PIECES[3:]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Strip(),
            normalizers.Precompiled(CHARSMAP),
            normalizers.Replace(Regex(' {2,}'), ' '),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(replacement='▁', prepend_scheme='always', split=True)]
    )
    tokenizer.decoder = decoders.Metaspace(replacement='▁', prepend_scheme='always', split=True)
    tokenizer.add_tokens(
        [
            special('[PAD]'),
            special('[CLS]'),
            special('[SEP]'),
            AddedToken('[UNK]', special=True, normalized=True),
            special('[MASK]'),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single='[CLS]:0 $A:0 [SEP]:0',
        pair='[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1',
        special_tokens=[('[CLS]', 1), ('[SEP]', 2)],
    )
    return tokenizer, {
        'do_lower_case': False,
        'vocab_type': 'spm',
        'bos_token': '[CLS]',
        'eos_token': '[SEP]',
        'sep_token': '[SEP]',
        'cls_token': '[CLS]',
        'unk_token': '[UNK]',
        'pad_token': '[PAD]',
        'mask_token': '[MASK]',
    }


TOKENIZERS = {
    'bert': lambda: wordpiece(True),
    'bert-cased': lambda: wordpiece(False),
    'gpt2': gpt2,
    'roberta': roberta,
    'bart-prefix': lambda: roberta(True),
    'llama2': lambda: llama2(True),
    'mistral': lambda: llama2(False),
    'llama3': llama3,
    'qwen2': qwen2,
    'modernbert': modernbert,
    'gemma': gemma,
    'xlm-roberta': xlmr,
    'deberta-v2': deberta,
}
PAIR_LENGTHS = [6, 9, 40]


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    with open(os.path.join(OUT, 'nmt_nfkc.gz'), 'wb') as file:
        file.write(gzip.compress(CHARSMAP, mtime=0))
    charsmap, result = base64.b64encode(CHARSMAP).decode(), {'texts': TEXTS, 'tokenizers': {}}
    for name, make in TOKENIZERS.items():
        tokenizer, config = make()
        saved = tokenizer.to_str()
        folder = os.path.join(OUT, name)
        os.makedirs(folder)
        with open(os.path.join(folder, 'tokenizer.json'), 'w') as file:
            json.dump(
                json.loads(saved.replace(charsmap, 'nmt_nfkc')),
                file,
                ensure_ascii=False,
                separators=(',', ':'),
            )
            file.write('\n')
        with open(os.path.join(folder, 'tokenizer_config.json'), 'w') as file:
            json.dump(config, file, indent=1)
            file.write('\n')
        with tempfile.TemporaryDirectory() as whole:
            shutil.copytree(folder, whole, dirs_exist_ok=True)
            with open(os.path.join(whole, 'tokenizer.json'), 'w') as file:
                file.write(saved)
            peer = PreTrainedTokenizerFast.from_pretrained(whole)
        answers = {'ids': [], 'decoded': [], 'skipped': [], 'pairs': []}
        for text in TEXTS:
            ids = peer(text)['input_ids']
            answers['ids'].append(ids)
            answers['decoded'].append(peer.decode(ids))
            answers['skipped'].append(peer.decode(ids, skip_special_tokens=True))
        for length in PAIR_LENGTHS:
            encoding = peer(
                TEXTS[2],
                TEXTS[3],
                truncation='longest_first',
                max_length=length,
                return_token_type_ids=True,
            )
            answers['pairs'].append(
                {
                    'length': length,
                    'ids': encoding['input_ids'],
                    'types': encoding['token_type_ids'],
                }
            )
        answers['special'] = [
            getattr(peer, f'{kind}_token_id') for kind in ['bos', 'eos', 'pad', 'unk']
        ]
        result['tokenizers'][name] = answers
    with open(os.path.join(OUT, 'golden.json'), 'w') as file:
        json.dump(result, file, ensure_ascii=True, separators=(',', ':'))
        file.write('\n')


if __name__ == '__main__':
    main()
