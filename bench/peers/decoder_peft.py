"""The peer of `npm run bench -- decoder`: PyTorch, transformers and PEFT, as their users train and
generate.

Reads one JSON job from the first line of standard input (DecoderJob of bench/decoder-job.ts).

- `write`: writes a GPT-2 with random weights and a PEFT folder on its c_attn layers, for both
  sides, and ends.
- `train`: LoRA steps on batches padded on the right to their own longest row, with the loss on the
  answers.
- `generate`: greedy, with transformers' cache, the prompts padded on the left.

Warms up, prints a line, then takes a turn for each further line and prints {"seconds": s, "last":
bool}. At the end prints {"losses": by step, "ids": new tokens by prompt, "peak_memory_mb": m,
"versions": {...}}.
"""

import json, os, resource, sys, time

job = json.loads(sys.stdin.readline())
os.environ["OMP_NUM_THREADS"] = str(job["threads"])
os.environ["HF_HUB_OFFLINE"] = "1"
import torch, transformers, peft

torch.set_num_threads(job["threads"])
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.manual_seed(0)
IGNORED = -100


def say(what):
    print(json.dumps(what), flush=True)


def write():
    config = transformers.GPT2Config(
        **job["shape"],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(job["model"])
    lora = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=8,
        lora_alpha=16,
        lora_dropout=0.0,
        target_modules=["c_attn"],
        fan_in_fan_out=True,
    )
    peft.get_peft_model(model, lora).save_pretrained(job["adapter"])
    say({"ready": True})


def read():
    return transformers.GPT2LMHeadModel.from_pretrained(job["model"], dtype=torch.float32)


def batch(step):
    """The rows of a step, padded on the right; the labels are -100 outside the answers."""
    b = job["batch_size"]
    rows = job["rows"][step * b : (step + 1) * b]
    longest = max(len(row["ids"]) for row in rows)
    ids = torch.zeros(b, longest, dtype=torch.long)
    mask = torch.zeros(b, longest, dtype=torch.long)
    labels = torch.full((b, longest), IGNORED)
    for i, row in enumerate(rows):
        n, answer = len(row["ids"]), row["answer"]
        ids[i, :n] = torch.tensor(row["ids"])
        mask[i, :n] = 1
        labels[i, answer:n] = ids[i, answer:n]
    return ids, mask, labels


losses, texts = [], []


def trainer():
    model = peft.PeftModel.from_pretrained(read(), job["adapter"], is_trainable=True)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=job["learning_rate"], weight_decay=0.01)

    def advance(steps):
        for _ in range(steps):
            ids, mask, labels = batch(len(losses))
            loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())

    return advance, job["steps"]


def generator():
    model = read().eval()
    prompts = job["prompts"]
    longest = max(len(ids) for ids in prompts)
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, longest - len(prompt) :] = torch.tensor(prompt)
        mask[i, longest - len(prompt) :] = 1

    def advance(tokens):
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=tokens,
                do_sample=False,
                use_cache=True,
                pad_token_id=0,
            )
        texts[:] = out[:, longest:].tolist()

    return advance, job["new_tokens"]


def play():
    advance, amount = trainer() if job["mode"] == "train" else generator()
    advance(job["warmup"])
    say({"ready": True})
    for turn in range(job["rounds"]):
        if not sys.stdin.readline():
            sys.exit("the bench is gone")
        start = time.perf_counter()
        advance(amount)
        say({"seconds": time.perf_counter() - start, "last": turn == job["rounds"] - 1})
    say(
        {
            "losses": losses,
            "ids": texts,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "versions": {
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "peft": peft.__version__,
            },
        }
    )


write() if job["mode"] == "write" else play()
