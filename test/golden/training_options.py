"""Makes test/golden/tiny-bert/training-options.json: clipping, accumulation, decay groups and class
weights as transformers' Trainer has them.

python test/golden/training_options.py      (after tiny_bert.py; torch, transformers, accelerate,
peft; CPU, one thread)
"""

import json
import os
import tempfile

import torch
from peft import PeftModel
from reference import batch
from torch.utils.data import SequentialSampler
from transformers import BertForSequenceClassification, Trainer, TrainingArguments

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tiny-bert')
torch.set_num_threads(1)
with open(os.path.join(HERE, 'forward.json')) as file:
    rows = json.load(file)['rows']

STEPS, BATCH, WARMUP = 24, 5, 3


def collate(some):
    return {**batch(some), 'labels': torch.tensor([row['label'] for row in some])}


class InFileOrder(Trainer):
    """Rows in file order, each step's own loss, and a weighted loss where asked for."""

    class_weights = None

    def _get_train_sampler(self, *_args, **_kwargs):
        return SequentialSampler(self.train_dataset)

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        if self.class_weights is None:
            loss = super().compute_loss(model, inputs, False, **kwargs)
        else:
            logits = model(**{k: v for k, v in inputs.items() if k != 'labels'}).logits
            loss = torch.nn.CrossEntropyLoss(torch.tensor(self.class_weights))(
                logits, inputs['labels']
            )
        self.batch_losses.append(loss.item())
        return loss


def run(kind, class_weights=None, **settings):
    base = BertForSequenceClassification.from_pretrained(
        os.path.join(HERE, 'checkpoint'), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = (
        base
        if kind == 'full'
        else PeftModel.from_pretrained(base, os.path.join(HERE, 'adapter'), is_trainable=True)
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=STEPS,
            per_device_train_batch_size=BATCH,
            warmup_steps=WARMUP,
            lr_scheduler_type='linear',
            use_cpu=True,
            report_to=[],
            save_strategy='no',
            logging_steps=1,
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            **settings,
        )
        trainer = InFileOrder(
            model=model, args=arguments, train_dataset=rows, data_collator=collate
        )
        # Mean over the batches of a step. Left to itself, this Trainer takes a BERT classifier for
        # a model that divides by the step's number of items; its loss is a mean already, and the
        # gradients of a step's batches would be summed.
        trainer.model_accepts_loss_kwargs = False
        trainer.class_weights, trainer.batch_losses = class_weights, []
        trainer.train()
    norms = [entry['grad_norm'] for entry in trainer.state.log_history if 'grad_norm' in entry]
    free = (
        []
        if kind == 'lora'
        else sorted(
            set(n for n, _ in model.named_parameters())
            - set(trainer.get_decay_parameter_names(model))
        )
    )
    return {
        'kind': kind,
        'settings': {**settings, 'class_weights': class_weights},
        'batch_losses': trainer.batch_losses,
        'norms': norms,
        'free_of_decay': [n.replace('bert.', '', 1) for n in free],
    }


result = {
    'steps': STEPS,
    'batch_size': BATCH,
    'warmup': WARMUP,
    'runs': {
        'clip': run('full', learning_rate=5e-3, weight_decay=0.0, max_grad_norm=0.5),
        'decay': run('full', learning_rate=5e-3, weight_decay=0.9, max_grad_norm=0.0),
        'accumulate': run(
            'lora',
            learning_rate=2e-2,
            weight_decay=0.0,
            max_grad_norm=0.0,
            gradient_accumulation_steps=2,
        ),
        'weights': run(
            'lora',
            learning_rate=1e-2,
            weight_decay=0.0,
            max_grad_norm=0.0,
            class_weights=[0.5, 2.0, 1.25],
        ),
        'together': run(
            'full',
            learning_rate=5e-3,
            weight_decay=0.3,
            max_grad_norm=1.0,
            gradient_accumulation_steps=3,
            class_weights=[3.0, 1.0, 0.4],
        ),
    },
}
with open(os.path.join(HERE, 'training-options.json'), 'w') as file:
    json.dump(result, file)
    file.write('\n')
