/** Checkpoints of test/golden/families with changes, as faulty or unusual folders have them. */
import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSafetensors, writeSafetensors } from '../../src/science/models/io/safetensors.ts';
import type { HostTensor } from '../../src/science/models/types.ts';
import { openCase } from './family-cases.ts';

const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
const END = '<end>';

/** A byte-level BPE of single letters, with an end of text: 60 ids. */
export const letters = {
  tokenizer: {
    added_tokens: [{ id: 0, content: END, special: true, normalized: false }],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    decoder: { type: 'ByteLevel' },
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(
        [END, 'Ġ', 'Ċ', ...Array.from('.,:#{' + LETTERS)].map((c, id) => [c, id]),
      ),
      merges: [],
    },
  },
  config: { eos_token: END } as Readonly<Record<string, unknown>>,
};

/**
 * A copy of a case's checkpoint with fields of its config.json changed, tensors changed (null:
 * left out), and a tokenizer.
 */
export async function changedCheckpoint(
  name: string,
  {
    config = {},
    tensors = {},
    tokenizer = letters,
  }: {
    readonly config?: Readonly<Record<string, unknown>>;
    readonly tensors?: Readonly<Record<string, HostTensor | null>>;
    readonly tokenizer?: { readonly tokenizer: unknown; readonly config: unknown };
  },
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'checkpoint-'));
  await cp((await openCase(name)).checkpoint, folder, { recursive: true });
  const json = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as object;
  const write = (file: string, value: unknown): Promise<void> =>
    writeFile(join(folder, file), JSON.stringify(value));
  await write('config.json', { ...json, ...config });
  await write('tokenizer.json', tokenizer.tokenizer);
  await write('tokenizer_config.json', tokenizer.config);
  const weights = join(folder, 'model.safetensors'),
    held = new Map(await readSafetensors(weights));
  for (const [tensor, value] of Object.entries(tensors))
    if (value === null) held.delete(tensor);
    else held.set(tensor, value);
  if (Object.keys(tensors).length > 0) await writeSafetensors(weights, held);
  return folder;
}
