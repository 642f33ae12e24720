"""What transformers, PEFT and bitsandbytes make of a training, for held.test.ts.

Reads a JSON object from each line of stdin: the folders `checkpoint` and `adapter`, `class`,
`classes`, `weights` (protocol.ts, `HeldWeights`), `rate`, `steps`, and `rows`. Prints a line with
the loss of each step, the logits after them, and the classes of the layers below the head.
"""

import json
import sys

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file
from transformers import BitsAndBytesConfig

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def trained(asked):
    rows, weights = asked['rows'], asked['weights']
    dtype = torch.bfloat16 if weights['dtype'] == 'bf16' else torch.float32
    form = {}
    if 'quantize' in weights:
        whole = ['lm_head', 'classifier', 'score']
        if weights['quantize']['method'] == 'nf4':
            settings = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type='nf4',
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype,
                llm_int8_skip_modules=whole,
            )
        else:
            settings = BitsAndBytesConfig(
                load_in_8bit=True, llm_int8_threshold=6.0, llm_int8_skip_modules=whole
            )
        form = {'quantization_config': settings, 'device_map': {'': 'cpu'}}
    base = getattr(transformers, asked['class']).from_pretrained(
        asked['checkpoint'],
        dtype=dtype,
        **({'num_labels': asked['classes']} if asked['classes'] else {}),
        **form,
    )
    model = PeftModel.from_pretrained(base, asked['adapter'], is_trainable=True)
    if asked['classes'] and dtype != torch.float32:
        # PEFT trains a head in the checkpoint's dtype, and rounds its values; here it is float32.
        head = base.classifier.modules_to_save['default'].float()
        given = load_file(f'{asked["adapter"]}/adapter_model.safetensors')
        for name, parameter in head.named_parameters():
            parameter.data.copy_(given[f'base_model.model.classifier.{name}'])
        head.register_forward_pre_hook(lambda _module, inputs: (inputs[0].float(),))
    parameters = [p for p in model.parameters() if p.requires_grad]
    assert parameters and all(p.dtype == torch.float32 for p in parameters)
    layers = [module for name, module in model.named_modules() if name.endswith('.base_layer')]
    for module in model.modules():  # else evaluation is in bfloat16 on some processors
        if hasattr(module, 'support_avx512bf16_for_cpu'):
            module.support_avx512bf16_for_cpu = False

    T = max(len(row['ids']) for row in rows)
    pad = max(0, base.config.pad_token_id or 0)
    ids = torch.tensor([row['ids'] + [pad] * (T - len(row['ids'])) for row in rows])
    mask = torch.tensor([[1] * len(row['ids']) + [0] * (T - len(row['ids'])) for row in rows])
    types = torch.tensor([row['typeIds'] + [0] * (T - len(row['typeIds'])) for row in rows])

    def logits():
        """(B, C), or those before each token of the answers, (Q, V)."""
        if asked['classes']:
            return model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
        states = base.model(input_ids=ids, attention_mask=mask).last_hidden_state
        read = [
            (b, t - 1) for b, row in enumerate(rows) for t in range(row['answer'], len(row['ids']))
        ]
        own = torch.stack([states[b, t] for b, t in read])
        return base.lm_head(own.unsqueeze(0))[0].float()

    labels = torch.tensor(
        [row['label'] for row in rows]
        if asked['classes']
        else [token for row in rows for token in row['ids'][row['answer'] :]]
    )
    optimizer = torch.optim.AdamW(parameters, lr=asked['rate'], weight_decay=0.01, fused=True)
    losses = []
    model.train()  # bitsandbytes computes in another way on a processor; dropout is 0
    for _ in range(asked['steps']):
        loss = torch.nn.functional.cross_entropy(logits(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        found = logits()
        if not asked['classes']:  # of each token of the answers its -log p
            found = torch.nn.functional.cross_entropy(found, labels, reduction='none')
    return {
        'losses': losses,
        'outputs': found.flatten().tolist(),
        'layers': sorted({type(layer).__name__ for layer in layers}),
    }


for line in sys.stdin:
    print(json.dumps(trained(json.loads(line))), flush=True)
