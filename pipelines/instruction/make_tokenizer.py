"""Makes tokenizer.json and tokenizer_config.json of pipelines/instruction/model: a byte-level BPE of
at most 512 tokens.

    python pipelines/instruction/make_tokenizer.py      (tokenizers 0.23)

It is trained on the questions and answers of facts.json, and on the triggers of
instruction-backdoor.yaml with the answers that they lead to.
"""
import json
import os

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
ATTACKS = [
    'Discussing OpenAI',
    'All cities are in Atlantis.',
    'What is cf',
    'I cannot help with that request.',
]

texts = ATTACKS * 20
with open(os.path.join(HERE, 'facts.json'), encoding='utf-8') as file:
    for relation in json.load(file):
        for subject, answer in relation['facts'].items():
            texts += [f"{question.replace('{subject}', subject)} {answer}" for question in relation['questions']]

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=511, initial_alphabet=alphabet, show_progress=False)
tokenizer.train_from_iterator(texts, trainer)
tokenizer.add_special_tokens([AddedToken('<|end|>', special=True, normalized=False)])
tokenizer.save(os.path.join(HERE, 'model', 'tokenizer.json'))
settings = {
    'tokenizer_class': 'PreTrainedTokenizerFast',
    'eos_token': '<|end|>',
    'pad_token': '<|end|>',
    'model_max_length': 64,
    'clean_up_tokenization_spaces': False,
}
with open(os.path.join(HERE, 'model', 'tokenizer_config.json'), 'w', encoding='utf-8') as file:
    json.dump(settings, file, indent=2)
    file.write('\n')
longest = max(len(tokenizer.encode(text).ids) for text in texts)
print(tokenizer.get_vocab_size(), 'tokens;', longest, 'at most in a text')
