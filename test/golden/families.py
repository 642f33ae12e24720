"""Makes test/golden/families: tiny random checkpoints of each family and head as transformers
writes them, and what PyTorch, transformers and PEFT make of them in double precision.

    python test/golden/families.py [NAME …]      (torch, transformers 5, peft; CPU, one thread)

families_cases.py has the cases. families/NAME holds

  checkpoint/   config.json, generation_config.json, model.safetensors (or shards with their index)
  adapter/      a PEFT folder: LoRA, rank 2, alpha 3, of all linear layers; A and B non-zero; a
                classifier's head saved with it
  golden.json
    family, head      plugin's name, 'classifier' | 'cloze' | 'causal-lm'
    rows              {ids, typeIds (where the model has two), mask (cloze), answer (causal-lm:
                      where the answer begins), label (else)}, not padded
    tokens            cloze: the chosen tokens, a class each
    reads             causal-lm: [row, place] for each row's places answer−1 … length−2, in this
                      order
    logits            classifier, cloze: (rows, classes); causal-lm: (reads, vocabulary)
    loss              mean cross-entropy over rows; causal-lm: over all reads, the target of a read
                      being the next id
    gradients         parameter as transformers names it → [norm, Σ_i cos(1 + i)·g_i over the flat
                      gradient as it is stored] of `loss`; a tied table is under the name of the
                      embeddings, with the sum of its two gradients
    training          AdamW, full fine-tuning, the same batch of all rows at each step, no dropout,
                      decay or clipping: {lr, betas, eps, steps, losses (before each step)}
    generation        causal-lm: {eos (ids), max_new_tokens, prompts (ids), outputs (the new ids,
                      eos among them)}: greedy, each prompt alone; the two best logits are ≥ 1e-3
                      apart at each step
    lora              {logits (causal-lm: of the first 2 reads), loss, gradients (of A, B and a
                      saved head, as PEFT names them)} of the base with adapter/
    kernel            {rows (the first how many), outputs, layers, full, lora}: full = J Jᵀ over the
                      weights (no biases) of `layers` at the base, lora = over A and B with
                      adapter/; outputs 'class logits', each (rows·classes)², a row's classes
                      together; 'log p(answer)', the sum over the answer's tokens, rows²

The modules that transformers computes in float32 whatever the type of the model (RMSNorm, rotary
angles, softmax) are computed in float64 here too, so that the values are the network's own to
1e-12. DeBERTa's buckets alone are those of float32, since a logarithm is rounded up there. Each is
checked to be within 3e-6 of the same in float32, and padding to change nothing. In the cases that
end in literal-pad, a text names the padding token, which is attended to like any other.
"""

import json
import os
import shutil
import sys
import warnings
from zlib import crc32

import torch
from families_cases import CASES, CLASSES, EOS
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    logging,
)
from transformers.pytorch_utils import Conv1D

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'families')
AUTO = {
    'classifier': AutoModelForSequenceClassification,
    'cloze': AutoModelForMaskedLM,
    'causal-lm': AutoModelForCausalLM,
}
LENGTHS = {'classifier': [3, 19, 8, 13, 5], 'cloze': [4, 19, 9, 13], 'causal-lm': [4, 17, 9, 21, 6]}
ANSWERS = [2, 14, 7, 18, 3]  # where they begin
TOKENS = [41, 9, 23]
STEPS, RATE, NEW, RANK, KERNEL_ROWS = 20, 1e-3, 12, 2, 4
torch.set_num_threads(1)
logging.disable_progress_bar()
logging.set_verbosity_error()
warnings.simplefilter('ignore')


class Double(TorchFunctionMode):
    """What asks for float32 gets float64."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        swap = lambda value: torch.float64 if value is torch.float32 else value
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        return function(
            *[swap(a) for a in args], **{key: swap(value) for key, value in (kwargs or {}).items()}
        )


# ---- the checkpoint
def randomise(model):
    """Wide enough that every part of the network shows in the logits."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 and name.endswith('weight'):  # a norm's; Gemma's is 1 + weight
                parameter.copy_(
                    (0 if model.config.model_type == 'gemma' else 1)
                    + 0.2 * torch.randn_like(parameter)
                )
            elif parameter.dim() == 1:
                parameter.copy_(0.2 * torch.randn_like(parameter))
            else:
                parameter.copy_(0.22 * torch.randn_like(parameter))


def save_json(path, value, **more):
    with open(path, 'w') as file:
        json.dump(value, file, **(more or {'separators': (',', ':')}))
        file.write('\n')


def write_checkpoint(case, folder):
    torch.manual_seed(crc32(case.name.encode()))
    labels = {'num_labels': CLASSES} if case.head == 'classifier' else {}
    config = case.config(**{'eos_token_id': EOS, **case.settings, **labels})
    model = AUTO[case.head].from_config(config)
    randomise(model)
    if case.dtype:
        model = model.to(getattr(torch, case.dtype))
    model.save_pretrained(folder, **({'max_shard_size': case.shard} if case.shard else {}))
    if case.tensors:
        path = os.path.join(folder, 'model.safetensors')
        save_file(
            {name: value.contiguous() for name, value in case.tensors(load_file(path)).items()},
            path,
            metadata={'format': 'pt'},
        )
    if case.older:
        change_json(os.path.join(folder, 'config.json'), case.older)


def change_json(path, change):
    with open(path) as file:
        saved = json.load(file)
    save_json(path, change(saved), indent=2)


def opened(case, folder, dtype=torch.float64):
    model, loading = AUTO[case.head].from_pretrained(
        folder, dtype=dtype, attn_implementation='eager', output_loading_info=True
    )
    lost = [name for name in loading['missing_keys']]
    assert not lost and not loading['mismatched_keys'], (lost, loading)
    return model.to(dtype).eval()


# ---- the rows
def make_rows(case):
    generator = torch.Generator().manual_seed(crc32(b'rows ' + case.name.encode()))
    draw = lambda low, high, n: torch.randint(low, high, (n,), generator=generator).tolist()
    rows = []
    for i, length in enumerate(LENGTHS[case.head]):
        ids = draw(5, 66, length)
        row = {'ids': ids}
        if case.head == 'causal-lm':
            ids[0] = 1
            row['answer'] = ANSWERS[i]
        elif case.family in ('llama', 'gpt2', 'qwen2', 'qwen3', 'gpt_neox', 'gemma', 'mistral'):
            ids[0] = 1
            if case.name.endswith('pad-is-eos') and i % 2 == 1:
                ids[-1] = case.settings['pad_token_id']
        else:
            ids[0], ids[-1] = 2, 3
        if case.name.endswith('literal-pad') and i % 2 == 1:
            ids[length // 2] = case.settings['pad_token_id']
        if case.head == 'cloze':
            row['mask'] = 1 + draw(0, length - 2, 1)[0]
            ids[row['mask']] = 4
        if case.config(**case.settings).to_dict().get('type_vocab_size', 0) == 2 and i % 2 == 1:
            row['typeIds'] = [0] * (length // 2) + [1] * (length - length // 2)
        if case.head != 'causal-lm':
            row['label'] = draw(0, CLASSES, 1)[0]
        rows.append(row)
    return rows


def batch(case, model, rows):
    longest = max(len(row['ids']) for row in rows)
    pad_id = model.config.pad_token_id or 0
    pad = lambda values, fill: values + [fill] * (longest - len(values))
    inputs = {
        'input_ids': torch.tensor([pad(row['ids'], pad_id) for row in rows]),
        'attention_mask': torch.tensor([pad([1] * len(row['ids']), 0) for row in rows]),
    }
    if any('typeIds' in row for row in rows) or case.family == 'bert':
        inputs['token_type_ids'] = torch.tensor(
            [pad(row.get('typeIds', [0] * len(row['ids'])), 0) for row in rows]
        )
    return inputs


def reads(rows):
    return [
        [i, place]
        for i, row in enumerate(rows)
        for place in range(row['answer'] - 1, len(row['ids']) - 1)
    ]


def outputs(case, model, rows):
    """Logits at what is read, and the target of each."""
    logits = model(**batch(case, model, rows)).logits
    if case.head == 'classifier':
        return logits, torch.tensor([row['label'] for row in rows])
    if case.head == 'cloze':
        return logits[torch.arange(len(rows)), torch.tensor([row['mask'] for row in rows])][
            :, TOKENS
        ], torch.tensor([row['label'] for row in rows])
    at = reads(rows)
    return logits[[i for i, _ in at], [place for _, place in at]], torch.tensor(
        [rows[i]['ids'][place + 1] for i, place in at]
    )


# ---- what is recorded
def brief(value):
    """Numbers to 9 digits, which is more than float32 can tell apart."""
    if isinstance(value, float):
        return float(f'{value:.9g}')
    return [brief(some) for some in value]


def checksum(gradient):
    flat = gradient.detach().flatten().double()
    return brief(
        [
            flat.norm().item(),
            (flat * torch.cos(1 + torch.arange(len(flat), dtype=torch.float64))).sum().item(),
        ]
    )


def loss_and_gradients(case, model, rows):
    model.zero_grad()
    logits, targets = outputs(case, model, rows)
    loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()
    table = model.get_input_embeddings().weight
    named = {
        name: p
        for name, p in model.named_parameters(remove_duplicate=False)
        if p is table and ('embed' in name or '.wte.' in name)
    }
    named.update({name: p for name, p in model.named_parameters() if p is not table})
    return (
        logits.detach(),
        loss.item(),
        {
            name: checksum(torch.zeros_like(p) if p.grad is None else p.grad)
            for name, p in named.items()
            if p.requires_grad
        },
    )


def train(case, model, rows):
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(*outputs(case, model, rows))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def generated(model, prompt, eos):
    """The new ids; None where two tokens are as good as each other at some step."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        generation_config=GenerationConfig(
            do_sample=False,
            max_new_tokens=NEW,
            eos_token_id=eos,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        ),
    )
    best = torch.stack([logits[0].topk(2).values for logits in out.logits])
    if (best[:, 0] - best[:, 1]).min() < 1e-3:
        return None
    return out.sequences[0, len(prompt) :].tolist()


def generation(case, model, folder):
    """Chooses an eos that ends some of the generations early, and writes it into the checkpoint."""
    generator = torch.Generator().manual_seed(crc32(b'prompts ' + case.name.encode()))
    draw = lambda n: torch.randint(5, 66, (n,), generator=generator).tolist()
    prompts = []
    for length in [1, 9, 3, 16, 2, 25, 6, 11]:
        for attempt in range(90):
            prompt = [1] + draw(length - 1) if length > 1 else draw(1)
            path = generated(model, prompt, None)
            if path and len(set(path)) >= 5 - attempt // 30:
                break
        assert path, "no prompt with a path that rounding can't change"
        prompts.append(prompt)
    free = [generated(model, prompt, None) for prompt in prompts]
    ends = lambda token: sum(token in some[:-1] for some in free)
    inner = lambda token: sum(token in some[:-1] and some.index(token) > 0 for some in free)
    ranked = sorted(
        range(5, 66),
        key=lambda token: (
            inner(token) > 0 and ends(token) < len(free) - 2,
            min(inner(token), 3),
            ends(token),
        ),
        reverse=True,
    )
    eos = ranked[:2] if case.eos_many else ranked[0]
    assert ends(ranked[0]) > 0
    for name in ['config.json', 'generation_config.json']:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            change_json(path, lambda saved: {**saved, 'eos_token_id': eos})
    return {
        'eos': eos if case.eos_many else [eos],
        'max_new_tokens': NEW,
        'prompts': prompts,
        'outputs': [generated(model, prompt, eos) for prompt in prompts],
    }


# ---- LoRA and kernels
def targets(model):
    """All linear layers (GPT-2's Conv1D among them) but a language model's table and the modules
    that PEFT saves whole for a
    classifier: those whose name ends in 'classifier' or 'score', DistilBERT's pre_classifier among
    them."""
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D))
        and module is not head
        and not name.split('.')[0].endswith(('classifier', 'score'))
        and not name.endswith('.decoder')
    ]


def write_adapter(case, folder, checkpoint):
    torch.manual_seed(crc32(b'adapter ' + case.name.encode()))
    base = opened(case, checkpoint, torch.float32)
    task = {'classifier': 'SEQ_CLS', 'causal-lm': 'CAUSAL_LM', 'cloze': None}[case.head]
    model = get_peft_model(
        base,
        LoraConfig(
            task_type=task, r=RANK, lora_alpha=3, target_modules=targets(base), lora_dropout=0.0
        ),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'lora_' in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
            elif 'modules_to_save' in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    change_json(
        os.path.join(folder, 'adapter_config.json'),
        lambda saved: {
            **saved,
            'base_model_name_or_path': case.name,
            'target_modules': sorted(saved['target_modules']),
        },
    )
    readme = os.path.join(folder, 'README.md')
    if os.path.exists(readme):
        os.remove(readme)


def kernel(case, model, rows, names):
    """J Jᵀ over the parameters `names`, a row at a time by plain autograd."""
    parameters = [dict(model.named_parameters())[name] for name in names]
    for parameter in parameters:
        parameter.requires_grad_(True)
    jacobian = []
    for row in rows[:KERNEL_ROWS]:
        logits, answer = outputs(case, model, [row])
        values = (
            logits[0]
            if case.head != 'causal-lm'
            else torch.log_softmax(logits, -1)[torch.arange(len(answer)), answer].sum()[None]
        )
        for value in values:
            gradients = torch.autograd.grad(value, parameters, retain_graph=True)
            jacobian.append(torch.cat([gradient.flatten() for gradient in gradients]))
    J = torch.stack(jacobian)
    return brief((J @ J.T).tolist())


def golden(case):
    folder = os.path.join(HERE, case.name)
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint, adapter = os.path.join(folder, 'checkpoint'), os.path.join(folder, 'adapter')
    os.makedirs(checkpoint)
    write_checkpoint(case, checkpoint)
    rows = make_rows(case)
    with Double():
        model = opened(case, checkpoint)
        logits, loss, gradients = loss_and_gradients(case, model, rows)
        assert all(
            norm > 1e-9
            for name, (norm, _) in gradients.items()
            if not name.endswith(('bias', 'k_lin.bias', 'mask_token'))
        ), gradients
        with torch.no_grad():
            alone = torch.cat([outputs(case, model, [row])[0] for row in rows])
        assert (alone - logits).abs().max() < 1e-10, 'padding changes a row'
        result = {'family': case.family, 'head': case.head, 'rows': rows}
        if case.head == 'cloze':
            result['tokens'] = TOKENS
        if case.head == 'causal-lm':
            result['reads'] = reads(rows)
            result['generation'] = generation(case, opened(case, checkpoint), checkpoint)
        losses = train(case, opened(case, checkpoint), rows)
        result.update(
            logits=brief(logits.tolist()),
            loss=brief(loss),
            gradients=gradients,
            training={
                'lr': RATE,
                'betas': [0.9, 0.999],
                'eps': 1e-8,
                'steps': STEPS,
                'losses': brief(losses),
            },
        )
        write_adapter(case, adapter, checkpoint)
        tuned = (
            PeftModel.from_pretrained(opened(case, checkpoint), adapter, is_trainable=True)
            .double()
            .eval()
        )
        lora_logits, lora_loss, lora_gradients = loss_and_gradients(case, tuned, rows)
        result['lora'] = {
            'logits': brief(lora_logits[: 2 if case.head == 'causal-lm' else None].tolist()),
            'loss': brief(lora_loss),
            'gradients': lora_gradients,
        }
        model = opened(case, checkpoint)
        layers = targets(model)
        result['kernel'] = {
            'rows': KERNEL_ROWS,
            'outputs': 'log p(answer)' if case.head == 'causal-lm' else 'class logits',
            'layers': layers,
            'full': kernel(case, model, rows, [name + '.weight' for name in layers]),
            'lora': kernel(
                case,
                tuned,
                rows,
                [
                    name
                    for name, _ in tuned.named_parameters()
                    if '.lora_A.' in name or '.lora_B.' in name
                ],
            ),
        }
    single, single_loss, _ = loss_and_gradients(case, opened(case, checkpoint, torch.float32), rows)
    off = (
        (single - logits).abs().max().item(),
        max(
            abs(a - b)
            for a, b in zip(train(case, opened(case, checkpoint, torch.float32), rows), losses)
        ),
    )
    save_json(os.path.join(folder, 'golden.json'), result)
    size = sum(
        os.path.getsize(os.path.join(at, name))
        for at, _, names in os.walk(folder)
        for name in names
    )
    print(
        f'{case.name}: {size} bytes; float32 is off by {off[0]:.1e} in logits, '
        f'{off[1]:.1e} in losses ({losses[0]:.3f} → {losses[-1]:.3f})',
        flush=True,
    )
    assert max(off) < 3e-6, case.name


if __name__ == '__main__':
    for case in CASES:
        if len(sys.argv) == 1 or case.name in sys.argv[1:]:
            golden(case)
