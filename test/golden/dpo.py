"""Makes test/golden/dpo.json: the losses of TRL's DPOTrainer on tiny decoders of families/.

    python test/golden/dpo.py            (trl 1.16, torch, transformers 5, peft; CPU, one thread)

Pairs are token ids: the prompts and answers of a family's rows, each with the next row's answer as
the rejected one, so that TRL tokenises nothing. Batches are in file order, epoch after epoch. LoRA
goes on from the family's adapter, whose B is not zero, so that the reference is not the base.

  settings   of all trainings: AdamW without decay of biases and norms
  cases      {family, adapter (full | lora), beta, pairs {prompt, chosen, rejected}, losses
             (before each step)}
"""

import json
import os
import tempfile
from pathlib import Path

os.environ['TQDM_DISABLE'] = '1'

import torch
from datasets import Dataset
from peft import PeftModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, logging
from trl import DPOConfig, DPOTrainer

HERE = Path(__file__).parent
SETTINGS = {'steps': 20, 'batch_size': 3, 'learning_rate': 1e-3, 'weight_decay': 0.01}
CASES = [
    ('llama-causal', 'full', 0.1),
    ('llama-causal', 'lora', 0.5),
    ('gpt2-causal', 'full', 0.3),
    ('gpt2-causal', 'lora', 0.1),
]


class Trainer(DPOTrainer):
    def __init__(self, **given):
        self.seen = []
        super().__init__(**given)

    def _prepare_dataset(self, dataset, *_):
        return dataset

    def _get_train_sampler(self, dataset=None):
        return SequentialSampler(dataset or self.train_dataset)

    def compute_loss(self, *given, **named):
        found = super().compute_loss(*given, **named)
        self.seen.append(float(found))
        return found


def pairs_of(family):
    rows = json.loads((HERE / 'families' / family / 'golden.json').read_text())['rows']
    answers = [row['ids'][row['answer'] :] for row in rows]
    return [
        {'prompt': row['ids'][: row['answer']], 'chosen': own, 'rejected': other}
        for row, own, other in zip(rows, answers, answers[1:] + answers[:1])
    ]


def losses(family, adapter, beta, pairs):
    folder = HERE / 'families' / family
    model = AutoModelForCausalLM.from_pretrained(folder / 'checkpoint', dtype=torch.float32)
    words = {f'w{i}': i for i in range(model.config.vocab_size)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token='w0')), pad_token='w0', eos_token='w1'
    )
    if adapter == 'lora':
        model = PeftModel.from_pretrained(model, folder / 'adapter', is_trainable=True)
    with tempfile.TemporaryDirectory() as out:
        trainer = Trainer(
            model=model,
            args=DPOConfig(
                out,
                beta=beta,
                max_steps=SETTINGS['steps'],
                per_device_train_batch_size=SETTINGS['batch_size'],
                learning_rate=SETTINGS['learning_rate'],
                weight_decay=SETTINGS['weight_decay'],
                lr_scheduler_type='constant',
                max_grad_norm=0.0,
                bf16=False,
                gradient_checkpointing=False,
                use_cpu=True,
                report_to='none',
                save_strategy='no',
                max_length=None,
            ),
            train_dataset=Dataset.from_list(
                [{f'{name}_ids': ids for name, ids in pair.items()} for pair in pairs]
            ),
            processing_class=tokenizer,
        )
        trainer.train()
        return trainer.seen


def main():
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    cases = []
    for family, adapter, beta in CASES:
        pairs = pairs_of(family)
        cases.append(
            {
                'family': family,
                'adapter': adapter,
                'beta': beta,
                'pairs': pairs,
                'losses': losses(family, adapter, beta, pairs),
            }
        )
    text = json.dumps({'settings': SETTINGS, 'cases': cases})
    (HERE / 'dpo.json').write_text(text + '\n')


if __name__ == '__main__':
    main()
