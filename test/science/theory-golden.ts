/**
 * The reference values that test/golden/theory.py makes with NumPy and PyTorch, and the networks
 * that the values belong to.
 */
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import type { Distance } from '../../plugins/stages/divergence/distance.ts';
import type { LayerSpectrum } from '../../plugins/stages/spectrum/run.ts';
import { readConfig, readHead } from '../../src/science/models/head.ts';
import { readPeft, writePeft } from '../../src/science/models/io/peft.ts';
import { type Network, openNetwork } from '../../src/science/models/network.ts';
import type { HostTensor } from '../../src/science/models/types.ts';
import { present } from '../rig/present.ts';
import { bert } from './families.ts';
import { adapterFolder, checkpoint, classes, shape } from './tiny-bert.ts';

export interface TheoryGolden {
  readonly spectrum: Readonly<
    Record<'lora' | 'full', Readonly<Record<string, Omit<LayerSpectrum, 'layer' | 'shape'>>>>
  >;
  readonly divergence: {
    readonly layers: Readonly<Record<string, Distance>>;
    readonly total: Distance;
  };
  readonly linear: Readonly<
    Record<
      'lora' | 'full',
      {
        readonly parameters: readonly string[];
        readonly start: number[][];
        readonly change: number[][];
      }
    >
  >;
}

export const theoryGolden = JSON.parse(
  await readFile(fileURLToPath(new URL('../golden/theory.json', import.meta.url)), 'utf8'),
) as TheoryGolden;

const config = bert.parseConfig(await readConfig(checkpoint), classes);

/** scale · sin(Σ of the name's bytes + 0.37 k), k from 1 in C order. */
export function wave(
  name: string,
  shape: readonly number[],
  scale: number,
): HostTensor & { readonly data: Float32Array } {
  const phase = Buffer.from(name).reduce((a, b) => a + b, 0);
  return {
    shape,
    data: Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      (_, k) => scale * Math.sin(phase + 0.37 * (k + 1)),
    ),
  };
}

/** The golden adapter with its factors changed; the caller disposes of the network. */
export async function openChanged(
  change: (name: string, tensor: HostTensor) => HostTensor,
): Promise<Network> {
  const folder = await readPeft(adapterFolder, shape);
  const layers = new Map(
    [...folder.layers].map(([name, { A, B, alpha }]) => [
      name,
      { A: change(`${name}.lora_A`, A), B: change(`${name}.lora_B`, B), alpha },
    ]),
  );
  const dir = await mkdtemp(join(tmpdir(), 'adapter-'));
  await writePeft(dir, { ...folder, layers }, bert);
  return await openNetwork({
    architecture: bert,
    model: { path: checkpoint, digest: 'tiny-bert' },
    classes,
    seed: 1,
    evaluation: true,
    adapter: await lora.create({}, { ...shape, initFrom: dir }),
    head: await readHead(dir, { architecture: bert, config, classes }),
  });
}

/** The network at B = 0, as LoRA starts. */
export const openStart = (): Promise<Network> =>
  openChanged((name, tensor) =>
    name.endsWith('.lora_B')
      ? { shape: tensor.shape, data: new Float32Array(tensor.data.length) }
      : tensor,
  );

/** The network with both factors changed by the formula of test/golden/theory.py. */
export const openMoved = (): Promise<Network> =>
  openChanged((name, { shape, data }) => {
    const step = wave(name, shape, name.endsWith('.lora_B') ? 0.03 : 0.05).data;
    return { shape, data: Float32Array.from(data, (value, i) => value + present(step[i])) };
  });
