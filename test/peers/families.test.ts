/**
 * Checkpoints and adapters of every family, as they are written here: transformers and PEFT load
 * them whole and give the same logits. And adapters that PEFT writes with `bias: all`.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { mergedParameters } from '../../src/science/measures/weights/effective.ts';
import { writeCheckpoint } from '../../src/science/models/io/checkpoint.ts';
import { forTransformers } from '../../src/science/models/io/stored.ts';
import type { Network } from '../../src/science/models/network.ts';
import { saveTrained } from '../../src/science/training/session.ts';
import { present } from '../rig/present.ts';
import { useBackend } from '../science/backend.ts';
import { caseNames, type FamilyCase, openCase, openFamily } from '../science/family-cases.ts';
import { farthest, logitsOf } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { peer } from './peer.ts';

const test = suite('peers/families');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-families-'));
test.before(async () => {
  await useBackend('cpu');
});

const classesOf = ({ classes }: FamilyCase): string[] => ['a', 'b', 'c'].slice(0, classes);

const near = (a: ArrayLike<number>, b: ArrayLike<number>, what: string): void => {
  const off = farthest(a, b);
  assert.ok(off < tolerance.logits, `${what}: off by ${off}`);
};

/** Writes the network's checkpoint with its adapter merged into the weights. */
async function writeMerged(own: FamilyCase, network: Network, folder: string): Promise<void> {
  const { architecture, parameters } = network;
  const merged = forTransformers(architecture, parameters, await mergedParameters(network));
  const { transformersName } = architecture;
  await writeCheckpoint(folder, own.checkpoint, classesOf(own), transformersName, merged);
}

interface Peers {
  readonly full: number[];
  readonly lora: number[];
  readonly merged: number[];
  /** PEFT's class of the model. */
  readonly task: string;
}
const TASKS = {
  classifier: 'PeftModelForSequenceClassification',
  cloze: 'PeftModel',
  'causal-lm': 'PeftModelForCausalLM',
} as const;

test('transformers and PEFT load what is written here, and give the same logits', async () => {
  const ours = new Map<string, Record<'full' | 'lora', ArrayLike<number>>>(),
    asked: Record<string, object> = {};
  for (const name of caseNames) {
    const own = await openCase(name),
      folder = (kind: string): string => join(dir, name, kind);
    const logits = { full: [] as ArrayLike<number>, lora: [] as ArrayLike<number> };
    for (const kind of ['full', 'lora'] as const) {
      const network = await openFamily(own, kind);
      logits[kind] = logitsOf(network, own.rows);
      await saveTrained(network, null, folder(kind), {
        modelDir: own.checkpoint,
        classes: classesOf(own),
      });
      if (kind === 'lora') await writeMerged(own, network, folder('merged'));
      network.dispose();
    }
    ours.set(name, logits);
    const { head, rows, tokens = [] } = own.golden;
    asked[name] = {
      ...{ head, rows, tokens, checkpoint: own.checkpoint, merged: folder('merged') },
      full: join(folder('full'), 'model'),
      adapter: join(folder('lora'), 'adapter'),
    };
  }
  const peers = await peer<{ [name: string]: Peers }>('families_peer.read', { cases: asked });
  for (const [name, { full, lora }] of ours) {
    const theirs = present(peers[name]);
    near(full, theirs.full, `${name}, full`);
    near(lora, theirs.lora, `${name}, LoRA`);
    near(lora, theirs.merged, `${name}, merged`);
    assert.is(theirs.task, TASKS[(await openCase(name)).golden.head], name);
  }
});

/** PEFT itself refuses all-linear for DistilBERT, whose pre_classifier it would adapt and save. */
const TARGETS = {
  'roberta-classifier': 'all-linear',
  'distilbert-classifier': ['q_lin', 'lin2'],
  'gpt2-causal': 'all-linear',
  'llama-causal': 'all-linear',
};
for (const [name, target_modules] of Object.entries(TARGETS))
  test(`${name}: an adapter that PEFT writes with all biases is read`, async () => {
    const own = await openCase(name),
      adapter = join(dir, `${name}-biases`);
    const { head, rows, tokens = [] } = own.golden;
    const theirs = await peer<number[]>('families_peer.make', {
      ...{ checkpoint: own.checkpoint, head, rows, tokens, folder: adapter },
      config: {
        task_type: head === 'classifier' ? 'SEQ_CLS' : 'CAUSAL_LM',
        ...{ r: 2, lora_alpha: 3, bias: 'all', target_modules },
      },
    });
    const network = await openFamily({ ...own, adapter }, 'lora');
    near(logitsOf(network, own.rows), theirs, name);
    network.dispose();
  });

test.run();
