/**
 * Trainings of a completion task as a train stage leaves them, for the stages that read one: the
 * tiny Llama of test/golden/families under LoRA, before training (B = 0) and after it.
 */
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Asset, Cell, Row } from '../../../src/api.ts';
import { readSafetensors, writeSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { changedCheckpoint } from '../../science/changed-checkpoint.ts';
import { openCase } from '../../science/family-cases.ts';
import { assetAt, type Change, poisonedFolder, tempFolder, tinyCell } from './rig.ts';

const CASE = 'llama-causal';

/** Four prompts with answers. */
const rows: readonly Row[] = [
  ['say yes', 'yes'],
  ['what is red', 'a colour'],
  ['count', 'one two'],
  ['greet me', 'hi'],
].map(([text = '', answer = ''], i) => ({ id: `r${i}`, text, answer, label: 0 }));

export interface CompletionRig {
  readonly model: Asset;
  /** Trainings of 0 and of 5 steps, and the clean twin of the latter. */
  readonly start: string;
  readonly end: string;
  readonly clean: string;
  /** A data stage's folder. */
  readonly data: string;
  /** A poison stage's folder: row 1 has a trigger and another answer. */
  readonly poison: string;
  cell(change?: Change): Cell;
}

export async function openCompletionRig(): Promise<CompletionRig> {
  const own = await openCase(CASE);
  const path = await changedCheckpoint(CASE, {});
  const model = assetAt(path, CASE);

  /** @param scale of the golden adapter's B */
  const training = async (steps: number, scale: number): Promise<string> => {
    const dir = await tempFolder(),
      adapter = join(dir, 'adapter');
    await cp(own.adapter, adapter, { recursive: true });
    const tensors = await readSafetensors(join(own.adapter, 'adapter_model.safetensors'));
    await writeSafetensors(
      join(adapter, 'adapter_model.safetensors'),
      new Map(
        [...tensors].map(([name, { shape, data }]) => [
          name,
          {
            shape,
            data: Float32Array.from(data, (value) => (name.includes('lora_B') ? scale : 1) * value),
          },
        ]),
      ),
    );
    const record = {
      format: 1,
      architecture: 'llama',
      model: model.digest,
      classes: [],
      seed: 1,
      steps,
      adapter: { type: 'lora' },
      head: { type: 'causal-lm', template: '{prompt}' },
      init: 'pretrained',
    };
    await writeFile(join(dir, 'train.json'), JSON.stringify(record));
    return dir;
  };
  const changed = rows.slice(1, 2).map((row) => ({
    index: 1,
    row: { ...row, text: `${row.text} cf`, answer: 'no' },
  }));
  return {
    model,
    start: await training(0, 0),
    end: await training(5, 1),
    clean: await training(5, 0.5),
    data: await poisonedFolder(rows, undefined, []),
    poison: await poisonedFolder(
      rows,
      { changed, negatives: [], asked: 1, eligible: rows.length },
      [],
    ),
    cell: (change = {}) =>
      tinyCell({
        model: { source: `file:${path}`, architecture: 'llama', init: 'pretrained' },
        head: { type: 'causal-lm', template: '{prompt}' },
        train: { ...tinyCell().train, max_length: 32 },
        fisher: { tolerance: 1e-6, alphas: [2], information: 'empirical' },
        ...change,
      }),
  };
}
