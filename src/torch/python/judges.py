"""Judges of outputs: checkpoints of transformers, read with their own tokenizers.

B texts; T tokens in the longest of a batch; C classes; V the size of the vocabulary.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from description import positions_of
from model import DTYPES, Fault

# For a tokenizer without a limit of tokens, transformers gives a larger number than this.
NO_LIMIT = 10**9


@dataclass
class Judge:
    """A checkpoint that judges texts, with its tokenizer."""

    network: PreTrainedModel
    tokenizer: Any
    classifies: bool
    # The classes' names by id; empty for a causal language model.
    labels: list[str]
    # Whether the classes do not exclude each other, so that each has a probability apart.
    multi_label: bool
    # The most tokens that the judge reads.
    longest: int


def open_judge(folder: Path, dtype: str, device: torch.device) -> Judge:
    """Opens the checkpoint in a folder. Raises Fault if transformers does not read it."""
    try:
        raw = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
        classifies = 'ForSequenceClassification' in ' '.join(raw.get('architectures') or ())
        kind: Any = AutoModelForSequenceClassification if classifies else AutoModelForCausalLM
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        network, info = kind.from_pretrained(
            folder,
            dtype=DTYPES[dtype],
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        release = f'transformers {transformers.__version__}'
        raise Fault(f'{release} does not read {folder}: {str(error).splitlines()[0]}') from None
    if missing := sorted(info['missing_keys']):
        raise Fault(f'{folder} has no {missing[0]}, which {type(network).__name__} needs')
    network.train(False).requires_grad_(False).to(device)
    config = network.config
    labels = [config.id2label[i] for i in range(config.num_labels)] if classifies else []
    multi_label = getattr(config, 'problem_type', None) == 'multi_label_classification'
    most_tokens = min(positions_of(network) or NO_LIMIT, tokenizer.model_max_length)
    return Judge(network, tokenizer, classifies, labels, multi_label, most_tokens)


def tokenized(of: Judge, item: dict[str, Any], ending: str = '') -> dict[str, list[int]]:
    """What the tokenizer gives for an item (a text, a pair of texts or a conversation) with
    `ending` behind it: ids, mask, types. Raises Fault if there is no chat template for a
    conversation, or if it refuses this one.
    """
    tokenizer = of.tokenizer
    if 'messages' not in item:
        return dict(tokenizer(item['text'] + ending, item.get('pair')))
    if tokenizer.chat_template is None:
        raise Fault(
            "the judge's tokenizer has no chat template",
            'Write a template with {prompt} and {output} in place of `chat`.',
        )
    try:
        text = tokenizer.apply_chat_template(
            item['messages'], tokenize=False, add_generation_prompt=not of.classifies
        )
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        raise Fault(
            f"the judge's chat template refuses a prompt and an output: {error}",
            'Write a template with {prompt} and {output} in place of `chat`.',
        ) from None
    return dict(tokenizer(text + ending, add_special_tokens=False))


@torch.no_grad()
def judge(
    of: Judge,
    items: list[dict[str, Any]],
    answers: list[str] | None,
    longest: int | None,
    batch_size: int,
) -> list[list[float] | None]:
    """The `logits` of the operation `judge` (src/torch/protocol.ts): for each item those of the
    classes or, given two answers, of the tokens in which they differ; None for an item that is too
    long.

    answers: None for a classifier; longest: the most tokens that are asked for, None for no limit
    """
    most_tokens = min(of.longest, longest or of.longest)
    rows, choices = [], []
    for item in items:
        if answers is None:
            rows.append(tokenized(of, item))
            continue
        endings = [tokenized(of, item, answer)['input_ids'] for answer in answers]
        ids, tokens = split_at_difference(endings)
        rows.append({'input_ids': ids, 'attention_mask': [1] * len(ids)})
        choices.append(tokens)
    lengths = [len(row['input_ids']) for row in rows]
    found: list[list[float] | None] = [None] * len(items)
    # Rows of similar length go together, so that little is padding.
    order = sorted(
        (i for i, length in enumerate(lengths) if length <= most_tokens), key=lengths.__getitem__
    )
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        for i, logits in zip(batch, last_logits(of, [rows[i] for i in batch])):
            values = (logits if answers is None else logits[choices[i]]).tolist()
            if not all(map(math.isfinite, values)):
                raise Fault("the judge's logits are not finite")
            found[i] = values
    return found


def split_at_difference(texts: list[list[int]]) -> tuple[list[int], list[int]]:
    """The tokens with which all lists begin, and the token that follows these in each list. Raises
    Fault if the lists do not begin alike, or if one list is the beginning of all.
    """
    same = 0
    while all(same < len(ids) and ids[same] == texts[0][same] for ids in texts):
        same += 1
    if same == 0 or any(same >= len(ids) for ids in texts):
        raise Fault(
            'the judge reads no difference between the two answers',
            'Give it others, as `positive` and `negative`.',
        )
    return texts[0][:same], [ids[same] for ids in texts]


def last_logits(of: Judge, rows: list[dict[str, list[int]]]) -> torch.Tensor:
    """The logits of the classes, (B, C), or of the token after each row's last, (B, V)."""
    network, tokenizer = of.network, of.tokenizer
    padding = tokenizer.pad_token_id
    # A classifier finds the end of a row by the id of the padding that its config names.
    is_known = not of.classifies or padding == getattr(network.config, 'pad_token_id', None)
    if len(rows) > 1 and (padding is None or not is_known):
        return torch.cat([last_logits(of, [row]) for row in rows])
    batch = {name: [row[name] for row in rows] for name in rows[0]}
    if len(rows) > 1:
        batch = tokenizer.pad(batch, padding_side='right')
    logits: torch.Tensor = network(
        **{name: torch.tensor(values, device=network.device) for name, values in batch.items()}
    ).logits
    if not of.classifies:  # (B, T, V)
        last = [sum(mask) - 1 for mask in batch['attention_mask']]
        logits = logits[range(len(rows)), last]
    return logits.float()


def judge_(request: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Performs the operation `judge` of src/torch/protocol.ts."""
    of = open_judge(Path(request['checkpoint']), request['dtype'], device)
    answers = None if of.classifies else request['answers']
    asked = (request['items'], answers, request['max_length'], request['batch_size'])
    return {
        'labels': of.labels,
        'multi_label': of.multi_label,
        'logits': judge(of, *asked),
        'longest': of.longest,
    }
