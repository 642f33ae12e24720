"""Makes test/golden/tiny-bert/bf16.json and bf16-*.safetensors: the loss and the gradients of one
step with products in bfloat16.

    python test/golden/bf16.py      (after tiny_bert.py; torch, transformers, peft, safetensors;
    CPU, one thread)

Each product, forward and backward, takes both factors rounded to bfloat16. All else, the sums of the
products included, is in double precision.

- `lora`, `full`: each product rounds its result to bfloat16 too, as under
  torch.autocast(dtype=torch.bfloat16), and attention's products are among them.
- `lora-fused`, `full-fused`: the same, but attention rounds nothing.
- `lora-products`, `full-products`: neither results nor attention are rounded.
"""

import json
import os

import peft
import torch
from peft import PeftModel
from reference import batch, name_here
from safetensors.torch import save_file
from transformers import BertForSequenceClassification
from transformers.models.bert import modeling_bert

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tiny-bert')
torch.set_num_threads(1)
with open(os.path.join(HERE, 'forward.json')) as file:
    rows = json.load(file)['rows']


def rounded(x):
    return x.to(torch.bfloat16).to(x.dtype)


#: What becomes of the result of a product.
of_result = rounded


class Product(torch.autograd.Function):
    """a·b for equal numbers of axes."""

    @staticmethod
    def forward(context, a, b):
        a, b = rounded(a), rounded(b)
        context.save_for_backward(a, b)
        return of_result(a @ b)

    @staticmethod
    def backward(context, gradient):
        a, b = context.saved_tensors
        gradient = rounded(gradient)
        return (
            of_result(gradient @ b.transpose(-1, -2)),
            of_result(a.transpose(-1, -2) @ gradient),
        )


def linear(x, weight, bias=None):
    y = Product.apply(x.reshape(-1, x.shape[-1]), weight.T).reshape(*x.shape[:-1], -1)
    return y if bias is None else y + bias


def attention_by(product):
    def attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
        scores = product(query * scaling, key.transpose(2, 3))
        weights = torch.softmax(
            scores if attention_mask is None else scores + attention_mask, dim=-1
        )
        return product(weights, value).transpose(1, 2).contiguous(), weights

    return attention


def lora_linear(layer, x):
    """x Wᵀ + b + (s·x Aᵀ) Bᵀ, with the scale where dosimeter has it."""
    a, b = layer.lora_A['default'].weight, layer.lora_B['default'].weight
    return layer.base_layer(x) + linear(layer.scaling['default'] * linear(x, a), b)


torch.nn.functional.linear = linear

peft.tuners.lora.layer.Linear.forward = lora_linear


def step(kind):
    base = BertForSequenceClassification.from_pretrained(
        os.path.join(HERE, 'checkpoint'), attn_implementation='eager'
    )
    net = (
        base
        if kind == 'full'
        else PeftModel.from_pretrained(base, os.path.join(HERE, 'adapter'), is_trainable=True)
    )
    net = net.double().eval()
    loss = torch.nn.functional.cross_entropy(
        net(**batch(rows)).logits, torch.tensor([row['label'] for row in rows])
    )
    loss.backward()
    gradients = {
        name_here(n): p.grad.float().contiguous()
        for n, p in net.named_parameters()
        if p.requires_grad
    }
    return loss.item(), gradients


losses = {}
for suffix, product, of_result in (
    ('', Product.apply, rounded),
    ('-fused', torch.matmul, rounded),
    ('-products', torch.matmul, lambda x: x),
):
    modeling_bert.eager_attention_forward = attention_by(product)
    for kind in ('lora', 'full'):
        losses[kind + suffix], gradients = step(kind)
        save_file(gradients, os.path.join(HERE, f'bf16-{kind}{suffix}.safetensors'))
with open(os.path.join(HERE, 'bf16.json'), 'w') as file:
    json.dump(losses, file)
    file.write('\n')
