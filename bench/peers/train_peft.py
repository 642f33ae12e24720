"""The peer of `npm run bench -- train`: PyTorch + PEFT, the same rows in the same order, each batch padded to its own longest row.

Reads one JSON job from standard input:
  {"model": DIR, "mode": "lora"|"full"|"evaluate", "rank": r, "alpha": a, "threads": n, "batch_size": b, "learning_rate": lr,
   "warmup": steps not timed, "steps": steps timed, "rows": [{"ids": [...], "label": y}, ...], "head": [[...], [...]]}
Prints one JSON line: {"losses": [...], "seconds": s, "examples_per_second": e, "peak_memory_mb": m, "versions": {...}}.
"""
import json, os, resource, sys, time

job = json.load(sys.stdin)
os.environ["OMP_NUM_THREADS"] = str(job["threads"])
os.environ["HF_HUB_OFFLINE"] = "1"
import torch, transformers, peft

torch.set_num_threads(job["threads"])
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.manual_seed(0)

rows = job["rows"]
model = transformers.BertForSequenceClassification.from_pretrained(
    job["model"], num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
with torch.no_grad():
    model.classifier.weight.copy_(torch.tensor(job["head"]))
    model.classifier.bias.zero_()
if job["mode"] == "lora":
    model = peft.get_peft_model(model, peft.LoraConfig(
        r=job["rank"], lora_alpha=job["alpha"], lora_dropout=0.0, target_modules="all-linear", task_type="SEQ_CLS"))


def batch(step):
    b = job["batch_size"]
    chosen = [rows[(step * b + i) % len(rows)] for i in range(b)]
    longest = max(len(r["ids"]) for r in chosen)
    ids = torch.zeros(b, longest, dtype=torch.long)
    mask = torch.zeros(b, longest, dtype=torch.long)
    for i, r in enumerate(chosen):
        ids[i, : len(r["ids"])] = torch.tensor(r["ids"])
        mask[i, : len(r["ids"])] = 1
    return ids, mask, torch.tensor([r["label"] for r in chosen])


if job["mode"] == "evaluate":
    model.eval()

    def step(i):
        ids, mask, labels = batch(i)
        with torch.inference_mode():
            return model(input_ids=ids, attention_mask=mask, labels=labels).loss.item()
else:
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=job["learning_rate"], weight_decay=0.01)

    def step(i):
        ids, mask, labels = batch(i)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss.item()

losses = [step(i) for i in range(job["warmup"])]
start = time.perf_counter()
losses += [step(job["warmup"] + i) for i in range(job["steps"])]
seconds = time.perf_counter() - start
print(json.dumps({
    "losses": losses, "seconds": seconds, "examples_per_second": job["steps"] * job["batch_size"] / seconds,
    "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
}))
