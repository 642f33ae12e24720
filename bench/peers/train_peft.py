"""The peer of `npm run bench -- train`: PyTorch + PEFT, the same rows in the same order, each batch
padded to its own longest row.

Reads one JSON job from the first line of standard input (TrainJob of bench/train-job.ts). Warms up,
prints a line, then takes a turn for each further line: `steps` steps of each cell, one cell after
another, and prints {"seconds": s, "last": bool}. At the end prints {"losses": by cell and step,
"operations": of one step of all cells, "peak_memory_mb": m, "versions": {...}}.
"""

import json, os, resource, sys, time

job = json.loads(sys.stdin.readline())
os.environ["OMP_NUM_THREADS"] = str(job["threads"])
os.environ["HF_HUB_OFFLINE"] = "1"
import torch, transformers, peft
from torch.utils._python_dispatch import TorchDispatchMode

torch.set_num_threads(job["threads"])
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.manual_seed(0)


class Counter(TorchDispatchMode):
    """Counts the operations that reach a kernel; views count too."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        Counter.count += 1
        return function(*args, **(kwargs or {}))


def batch(cell, step):
    b, rows = job["batch_size"], cell["rows"]
    chosen = [rows[(step * b + i) % len(rows)] for i in range(b)]
    texts = [job["texts"][r["index"]] for r in chosen]
    longest = max(len(ids) for ids in texts)
    ids = torch.zeros(b, longest, dtype=torch.long)
    mask = torch.zeros(b, longest, dtype=torch.long)
    for i, text in enumerate(texts):
        ids[i, : len(text)] = torch.tensor(text)
        mask[i, : len(text)] = 1
    return ids, mask, torch.tensor([r["label"] for r in chosen])


def prepare(cell):
    """The function that takes the cell's next step and returns its loss."""
    model = transformers.BertForSequenceClassification.from_pretrained(
        job["model"], num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    if cell["adapter"] is not None:
        model = peft.PeftModel.from_pretrained(model, cell["adapter"], is_trainable=True)
    else:
        with torch.no_grad():
            model.classifier.weight.copy_(torch.tensor(job["head"]))
            model.classifier.bias.zero_()
    done = 0
    if job["mode"] == "evaluate":
        model.eval()
    else:
        model.train()
        optimiser = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=job["learning_rate"],
            weight_decay=0.01,
        )

    autocast = lambda: torch.autocast(
        'cpu', dtype=torch.bfloat16, enabled=job.get("precision") == "bf16"
    )

    def step():
        nonlocal done
        ids, mask, labels = batch(cell, done)
        done += 1
        if job["mode"] == "evaluate":
            with torch.inference_mode():
                return model(input_ids=ids, attention_mask=mask, labels=labels).loss.item()
        with autocast():
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


cells = [prepare(cell) for cell in job["cells"]]
losses = [[] for _ in cells]


def advance(steps):
    for k, step in enumerate(cells):
        losses[k] += [step() for _ in range(steps)]


def say(what):
    print(json.dumps(what), flush=True)


advance(job["warmup"] - 1)
with Counter():
    advance(1)
say({"ready": True})
for turn in range(job["rounds"]):
    if not sys.stdin.readline():
        sys.exit("the bench is gone")
    start = time.perf_counter()
    advance(job["steps"])
    say({"seconds": time.perf_counter() - start, "last": turn == job["rounds"] - 1})
say(
    {
        "losses": losses,
        "operations": Counter.count,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        },
    }
)
