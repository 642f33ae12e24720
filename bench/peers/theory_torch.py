"""The peers of `npm run bench -- theory`: the empirical NTK of MiniLM's logits by PyTorch, over
unpadded examples or exact masks.

Reads one JSON job from standard input:
  {"model": DIR, "kernel": "lora"|"full", "method": "func"|"hooks", "threads": n, "rank": r,
   "alpha": a, "rows": [{"ids": [...]}, ...], "head": [[...], [...]],
   "warmup": rows computed before the clock starts, "init": whether B is zero, "out": FILE}
A and B are filled by `wave`. Leaves the kernel in `out`, (N, C, N, C) doubles.
Prints one JSON line: {"seconds": s, "peak_memory_mb": m, "versions": {...}}.

func:  torch.func.jacrev of one example at a time, then the contraction of the Jacobians, layer by
       layer.
hooks: batches of examples of like length in one forward pass, one backward pass a class, hooks that
       keep every layer's input h and δ = ∂f_c/∂output; from them per-example gradients (LoRA) or
       token-pair products (full), contracted layer by layer.
"""

import json, math, os, resource, sys, time

job = json.load(sys.stdin)
os.environ["OMP_NUM_THREADS"] = str(job["threads"])
os.environ["HF_HUB_OFFLINE"] = "1"
import torch, transformers, peft
from torch.func import functional_call, jacrev

torch.set_num_threads(job["threads"])
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

CLASSES = 2
rows = [torch.tensor(row["ids"]) for row in job["rows"]]
# torch.func has no batching rule for the fused attention's backward pass: written out it is an
# eighth faster there.
model = transformers.BertForSequenceClassification.from_pretrained(
    job["model"],
    num_labels=CLASSES,
    attn_implementation="eager" if job["method"] == "func" else "sdpa",
)
with torch.no_grad():
    model.classifier.weight.copy_(torch.tensor(job["head"]))
    model.classifier.bias.zero_()
names = [
    name
    for name, module in model.named_modules()
    if isinstance(module, torch.nn.Linear) and "classifier" not in name
]


def wave(height, width, scale, phase):
    i, j = torch.arange(height).double()[:, None], torch.arange(width).double()[None]
    return (scale * torch.sin(phase + 0.37 * (i + 1) * (j + 2))).float()


scale = job["alpha"] / job["rank"]
if job["kernel"] == "lora":
    model = peft.get_peft_model(
        model,
        peft.LoraConfig(
            r=job["rank"], lora_alpha=job["alpha"], lora_dropout=0.0, target_modules=names
        ),
    )
    with torch.no_grad():
        for index, name in enumerate(names):
            layer = model.base_model.model.get_submodule(name)
            A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            A.copy_(wave(*A.shape, 0.05, index))
            B.copy_(wave(*B.shape, 0.0 if job["init"] else 0.01, index + 0.5))
model.eval()


def parameters():
    if job["kernel"] == "lora":
        return {n: p for n, p in model.named_parameters() if ".lora_" in n}
    return {f"{n}.weight": model.get_submodule(n).weight for n in names}


def by_func(examples):
    wanted = {n: p.detach() for n, p in parameters().items()}
    jacobians = []
    for ids in examples:

        def f(p, ids=ids):
            return functional_call(model, p, (), {"input_ids": ids[None]}).logits[0]

        jacobians.append(jacrev(f)(wanted))
    size = len(examples) * CLASSES
    K = torch.zeros(size, size)
    for n in wanted:
        J = torch.cat([j.pop(n).reshape(CLASSES, -1) for j in jacobians])
        K += J @ J.T
    return K


def by_hooks(examples):
    for p in model.parameters():
        p.requires_grad_(False)
    # So that the graph exists; its own gradient is never asked for.
    model.get_input_embeddings().weight.requires_grad_(True)
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]))
    groups = [order[i : i + 32] for i in range(0, len(order), 32)]
    where = torch.tensor([i for group in groups for i in group])
    modules = {
        n: model.base_model.model.get_submodule(n)
        if job["kernel"] == "lora"
        else model.get_submodule(n)
        for n in names
    }
    seen = {n: [] for n in names}
    for group in groups:
        longest = max(len(examples[i]) for i in group)
        ids = torch.zeros(len(group), longest, dtype=torch.long)
        mask = torch.zeros(len(group), longest, dtype=torch.long)
        for k, i in enumerate(group):
            ids[k, : len(examples[i])] = examples[i]
            mask[k, : len(examples[i])] = 1
        inputs, outputs = {}, {}

        def hook(name):
            def keep(module, args, output):
                inputs[name], outputs[name] = args[0].detach(), output

            return keep

        handles = [module.register_forward_hook(hook(n)) for n, module in modules.items()]
        logits = model(input_ids=ids, attention_mask=mask).logits
        for handle in handles:
            handle.remove()
        deltas = [
            torch.autograd.grad(
                logits[:, c].sum(), [outputs[n] for n in names], retain_graph=c + 1 < CLASSES
            )
            for c in range(CLASSES)
        ]
        for k, n in enumerate(names):
            h, ds = inputs[n], [d[k] for d in deltas]
            if h.dim() == 2:
                h, ds = h[:, None], [d[:, None] for d in ds]
            seen[n].append((h, ds))  # padding is masked from every key: its δ is zero
    size = len(examples) * CLASSES
    K = torch.zeros(size, size)
    at = torch.cat([where * CLASSES + c for c in range(CLASSES)])
    for n in names:
        parts = seen.pop(n)
        if job["kernel"] == "lora":
            layer = modules[n]
            A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            per_class = []
            for c in range(CLASSES):
                per_group = []
                for h, ds in parts:
                    dB = torch.einsum("btm,btr->bmr", ds[c], h @ A.T).flatten(1)
                    dA = torch.einsum("btr,btn->brn", ds[c] @ B, h).flatten(1)
                    per_group.append(torch.cat([dB, dA], 1))
                per_class.append(torch.cat(per_group))
            G = scale * torch.cat(per_class)  # (C · N, P)
            block = G @ G.T
        else:
            # Token pairs, one class pair after another: no gradient is ever written out.
            block = torch.zeros(size, size)
            starts = [0]
            for h, _ in parts:
                starts.append(starts[-1] + h.shape[0])
            N = starts[-1]
            for x, (h, ds) in enumerate(parts):
                for y, (g, es) in enumerate(parts[: x + 1]):
                    similarity = h.flatten(0, 1) @ g.flatten(0, 1).T
                    for c in range(CLASSES):
                        for d in range(CLASSES):
                            products = (ds[c].flatten(0, 1) @ es[d].flatten(0, 1).T) * similarity
                            sums = products.reshape(
                                h.shape[0], h.shape[1], g.shape[0], g.shape[1]
                            ).sum((1, 3))
                            block[
                                c * N + starts[x] : c * N + starts[x + 1],
                                d * N + starts[y] : d * N + starts[y + 1],
                            ] = sums
                            block[
                                d * N + starts[y] : d * N + starts[y + 1],
                                c * N + starts[x] : c * N + starts[x + 1],
                            ] = sums.T
        K[at[:, None], at[None]] += block
    return K


compute = by_func if job["method"] == "func" else by_hooks
if job["warmup"] > 0:
    compute(rows[: job["warmup"]])
start = time.perf_counter()
K = compute(rows)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
K.detach().double().numpy().tofile(job["out"])
print(
    json.dumps(
        {
            "seconds": seconds,
            "peak_memory_mb": peak,
            "versions": {
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "peft": peft.__version__,
            },
        }
    )
)
