import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readSafetensors, writeSafetensors } from '../../src/science/models/io/safetensors.ts';
import { present } from '../rig/present.ts';
import { python } from './python.ts';

const test = suite<{ dir: string }>('peers/safetensors');
test.before((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-peers-'));
});

test('the safetensors package reads files that are written here', async ({ dir }) => {
  const file = join(dir, 'ours.safetensors');
  await writeSafetensors(
    file,
    new Map([
      ['a.weight', { shape: [2, 3], data: Float32Array.of(1, -2, 0.5, 2 ** -126, 65504, -0) }],
      ['b', { shape: [], data: Float32Array.of(7) }],
    ]),
    { format: 'pt' },
  );
  const read = await python<{ [name: string]: [number[], string, number[]] }>(
    `
from safetensors.torch import load_file
answer({
    name: [list(tensor.shape), str(tensor.dtype), tensor.flatten().tolist()]
    for name, tensor in load_file(args).items()
})`,
    file,
  );
  assert.equal(read, {
    'a.weight': [[2, 3], 'torch.float32', [1, -2, 0.5, 2 ** -126, 65504, -0]],
    b: [[], 'torch.float32', [7]],
  });
});

test('files that the safetensors package writes are read here', async ({ dir }) => {
  const file = join(dir, 'theirs.safetensors');
  await python(
    `
import torch
from safetensors.torch import save_file
tensors = {
    'x': torch.arange(6, dtype=torch.float32).reshape(2, 3) / 3,
    'half': torch.tensor([1.5, -2.25], dtype=torch.bfloat16),
}
save_file(tensors, args, metadata={'format': 'pt'})
answer(None)`,
    file,
  );
  const read = await readSafetensors(file);
  assert.equal(read.get('x')?.shape, [2, 3]);
  assert.equal(
    [...present(read.get('x')).data],
    [...Float32Array.from([0, 1, 2, 3, 4, 5], (n) => n / 3)],
  );
  assert.equal([...present(read.get('half')).data], [1.5, -2.25]);
});

test.run();
