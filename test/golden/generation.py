"""Makes test/golden/generation.json: what transformers' `generate` writes after 50 prompts of
unlike length, for a tiny checkpoint of each family of decoders.

    python test/golden/generation.py      (torch, transformers 5, peft, safetensors; CPU, one
    thread)

The checkpoints are those of test/golden/families, which families.py makes. For each case:

  eos (ids), max_new_tokens, prompts (ids), outputs (the new ids, eos among them)

Greedy, each prompt alone, in double precision; the two best logits are ≥ 1e-3 apart at each step,
so that float32 chooses the same tokens. All prompts as one batch, padded on the left, give the same
outputs.
"""

import json
import os
from zlib import crc32

import torch
from families import HERE, NEW, Double, generated, opened, save_json
from families_cases import CASES
from transformers import GenerationConfig

NAMES = (
    'gpt2-causal gpt-neox-causal llama-causal llama-causal-llama3 mistral-causal '
    'qwen2-causal qwen3-causal gemma-causal'
).split()
PROMPTS = 50


def prompts_of(name, model, eos):
    """Prompts of 1 to 37 tokens, and their outputs. A prompt after which two tokens are as good as
    each other is drawn again.
    """
    generator = torch.Generator().manual_seed(crc32(b'50 prompts ' + name.encode()))
    prompts, outputs = [], []
    while len(prompts) < PROMPTS:
        length = 1 + len(prompts) * 7 % 37
        prompt = (
            [1] + torch.randint(5, 66, (length - 1,), generator=generator).tolist()
            if length > 1
            else torch.randint(5, 66, (1,), generator=generator).tolist()
        )
        output = generated(model, prompt, eos)
        if output is not None:
            prompts.append(prompt)
            outputs.append(output)
    return prompts, outputs


def together(model, prompts, eos):
    """The outputs of one batch, padded on the left."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    out = model.generate(
        ids,
        attention_mask=mask,
        generation_config=GenerationConfig(
            do_sample=False, max_new_tokens=NEW, eos_token_id=eos, pad_token_id=0
        ),
    )
    rows = [row[longest:].tolist() for row in out]
    ends = [
        min([i + 1 for i, token in enumerate(row) if token in eos] + [len(row)]) for row in rows
    ]
    return [row[:end] for row, end in zip(rows, ends)]


def main():
    result = {}
    for case in CASES:
        if case.name not in NAMES:
            continue
        with open(os.path.join(HERE, case.name, 'golden.json')) as file:
            eos = json.load(file)['generation']['eos']
        with Double():
            model = opened(case, os.path.join(HERE, case.name, 'checkpoint'))
            prompts, outputs = prompts_of(case.name, model, eos)
            assert together(model, prompts, eos) == outputs, case.name
        result[case.name] = {
            'eos': eos,
            'max_new_tokens': NEW,
            'prompts': prompts,
            'outputs': outputs,
        }
        early = sum(output[-1] in eos for output in outputs)
        print(
            f'{case.name}: {early} of {PROMPTS} end early, {len(set(map(tuple, outputs)))} different outputs',
            flush=True,
        )
    save_json(os.path.join(os.path.dirname(HERE), 'generation.json'), result)


if __name__ == '__main__':
    main()
