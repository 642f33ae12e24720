/**
 * A training that starts from the merged model of another, compared with PyTorch + PEFT
 * (two_step.py).
 */
import { mkdtempSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { mergedParameters } from '../../../src/science/measures/weights/effective.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { readConfig, readHead } from '../../../src/science/models/head.ts';
import { writeCheckpoint } from '../../../src/science/models/io/checkpoint.ts';
import { type Network, openNetwork } from '../../../src/science/models/network.ts';
import { type LabelledRow, train, type TrainSettings } from '../../../src/science/training/loop.ts';
import { saveTrained } from '../../../src/science/training/session.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { plainTraining } from '../plain-training.ts';
import {
  adapterFolder,
  checkpoint,
  classes,
  farthest,
  golden,
  logitsOf,
  openTiny,
  rows,
  shape,
} from '../tiny-bert.ts';

type Kind = 'full' | 'lora';
interface Settings {
  readonly lr: number;
  readonly weight_decay: number;
}
interface Golden {
  readonly steps: number;
  readonly batch_size: number;
  readonly settings: { readonly base: Settings; readonly own: Settings };
  readonly runs: Readonly<
    Record<
      string,
      {
        readonly base: readonly number[];
        readonly own: readonly number[];
        readonly logits: readonly number[][];
      }
    >
  >;
}
const reference = JSON.parse(await readFile(`${golden}two-step.json`, 'utf8')) as Golden;
const labels = ['a', 'b', 'c'];
const folder = mkdtempSync(join(tmpdir(), 'two-step-'));

/** Trains and saves a network. Returns the losses. */
async function trained(
  network: Network,
  some: readonly LabelledRow[],
  { lr, weight_decay: weightDecay }: Settings,
  dir: string,
): Promise<number[]> {
  const settings: TrainSettings = {
    ...plainTraining,
    steps: reference.steps,
    batchSize: reference.batch_size,
    learningRate: lr,
    weightDecay,
  };
  const losses: number[] = [];
  const weights = await train(network, some, settings, {
    onStep: ({ loss }) => {
      losses.push(loss);
    },
  });
  await saveTrained(network, weights, dir, { modelDir: checkpoint, classes: labels });
  weights.forEach((tensor) => tensor.dispose());
  network.dispose();
  return losses;
}

/** Opens the result of a training, with no trainable parameter. */
async function reopened(kind: Kind, dir: string, base: string): Promise<Network> {
  if (kind === 'full')
    return openNetwork({
      architecture: bert,
      model: { path: join(dir, 'model'), digest: null },
      classes,
      seed: 1,
      evaluation: true,
      adapter: await full.create({}, shape),
    });
  const adapter = join(dir, 'adapter');
  return openNetwork({
    architecture: bert,
    model: { path: base, digest: null },
    classes,
    seed: 1,
    evaluation: true,
    adapter: await lora.create({}, { ...shape, initFrom: adapter }),
    head: await readHead(adapter, {
      architecture: bert,
      config: bert.parseConfig(await readConfig(base), classes),
      classes,
    }),
  });
}

for (const backend of backends) {
  for (const [name, run] of Object.entries(reference.runs)) {
    test(`${name}: all losses and the final logits are PyTorch's (${backend})`, async () => {
      await useBackend(backend);
      const [first, second] = name.split('-') as [Kind, Kind];
      const place = (step: string): string => join(folder, backend, name, step);
      const flipped = rows.map((row) => ({ ...row, label: (row.label + 1) % classes }));
      const base = await trained(
        await openTiny(first),
        flipped,
        reference.settings.base,
        place('base'),
      );
      assert.ok(farthest(base, run.base) < tolerance.loss, 'base');

      const network = await reopened(first, place('base'), checkpoint);
      const tensors = new Map(
        [...(await mergedParameters(network))].map(([parameter, tensor]) => [
          bert.externalName(parameter),
          tensor,
        ]),
      );
      await writeCheckpoint(place('merged'), checkpoint, labels, bert.transformersName, tensors);
      network.dispose();

      // The head comes from the base, whichever folder A and B start from.
      const own = await openNetwork({
        architecture: bert,
        model: { path: place('merged'), digest: null },
        classes,
        seed: 1,
        adapter:
          second === 'full'
            ? await full.create({}, shape)
            : await lora.create({}, { ...shape, initFrom: adapterFolder }),
      });
      assert.ok(
        farthest(await trained(own, rows, reference.settings.own, place('own')), run.own) <
          tolerance.loss,
        'own',
      );
      const end = await reopened(second, place('own'), place('merged'));
      assert.ok(farthest(logitsOf(end, rows), run.logits.flat()) < tolerance.loss, 'logits');
      end.dispose();
    });
  }
}

test.run();
