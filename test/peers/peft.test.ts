/**
 * Adapter folders and checkpoints are exchanged with PEFT and transformers in both directions:
 * logits, ranks and scales are equal.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { vera } from '../../plugins/adapters/vera/vera.ts';
import { UserFault } from '../../src/api.ts';
import { mergedParameters } from '../../src/science/measures/weights/effective.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { readConfig, readHead } from '../../src/science/models/head.ts';
import { writeCheckpoint } from '../../src/science/models/io/checkpoint.ts';
import { moduleName } from '../../src/science/models/modules.ts';
import { type Network, openNetwork } from '../../src/science/models/network.ts';
import { train } from '../../src/science/training/loop.ts';
import { saveTrained } from '../../src/science/training/session.ts';
import { present } from '../rig/present.ts';
import { useBackend } from '../science/backend.ts';
import { bert } from '../science/families.ts';
import { bitfit, headOnly } from '../science/plain-adapters.ts';
import { plainTraining } from '../science/plain-training.ts';
import { checkpoint, classes, farthest, logitsOf, rows, shape } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { peer } from './peer.ts';
import { unimplemented, variants } from './peft-configs.ts';

const test = suite('peers/peft');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-peers-'));
test.before(async () => {
  await useBackend('cpu');
});

interface Facts {
  readonly logits: number[][];
  readonly layers: { readonly [module: string]: readonly [rank: number, scale: number] };
  readonly labels?: { readonly [id: string]: string };
}
const shown = rows.map(({ ids, typeIds }) => ({ ids: [...ids], typeIds: [...typeIds] }));
const asked = { checkpoint, classes, rows: shown };
const model = { path: checkpoint, digest: 'tiny-bert' };
const labels = ['a', 'b', 'c'];

/** Ranks and scales of a network's layers, by PEFT's module names. */
const layersOf = ({ adapter, parameters }: Network): Facts['layers'] =>
  Object.fromEntries(
    adapter.targets
      .filter((name) => adapter.factors(name) !== null)
      .map((name) => [
        moduleName(bert, name),
        [
          present(parameters.find((spec) => spec.name === `${name}.lora_A`)!.shape[0]),
          present(adapter.factors(name)).scale,
        ],
      ]),
  );

function sameLayers(found: Facts['layers'], expected: Facts['layers'], name: string): void {
  assert.equal(Object.keys(found).sort(), Object.keys(expected).sort(), name);
  for (const [module, [rank, scale]] of Object.entries(expected))
    assert.ok(
      present(found[module])[0] === rank &&
        Math.abs(present(found[module])[1] - scale) < 1e-12 * scale,
      `${name}: ${module}`,
    );
}

function compare(name: string, network: Network, peers: Facts): void {
  assert.ok(
    farthest(logitsOf(network, rows), peers.logits.flat()) < tolerance.logits,
    `${name}: ${farthest(logitsOf(network, rows), peers.logits.flat())}`,
  );
  sameLayers(layersOf(network), peers.layers, name);
}

/** How many times the rank of an adapter that is written here exceeds that of its factors. */
const widening = (name: string): number => (/pissa|olora/.test(name) ? 2 : 1);
const widened = (name: string, layers: Facts['layers']): Facts['layers'] =>
  Object.fromEntries(
    Object.entries(layers).map(([module, [rank, scale]]) => [
      module,
      [rank * widening(name), scale],
    ]),
  );
const names = Object.keys(variants),
  merged = [...names, 'freeze-A', 'vera', 'vera by its seed'];
const folder = (kind: string, name: string): string => join(dir, kind, name.replaceAll(' ', '-'));

/** Writes a checkpoint with the saved adapter merged into its weights. */
async function writeMerged(name: string, implementation: AdapterImplementation): Promise<void> {
  const dir = join(folder('ours', name), 'adapter');
  const head = await readHead(dir, {
    architecture: bert,
    config: bert.parseConfig(await readConfig(checkpoint), classes),
    classes,
  });
  const network = await openNetwork({
    architecture: bert,
    model,
    classes,
    seed: 1,
    evaluation: true,
    adapter: await implementation.create({}, { ...shape, initFrom: dir }),
    head,
  });
  const tensors = new Map(
    [...(await mergedParameters(network))].map(([parameter, tensor]) => [
      bert.externalName(parameter),
      tensor,
    ]),
  );
  await writeCheckpoint(folder('merged', name), checkpoint, labels, bert.transformersName, tensors);
  network.dispose();
}

const SEQ_CLS = { task_type: 'SEQ_CLS' };

test('folders that PEFT writes are read here, and PEFT reads them when written again', async () => {
  const made = await peer<{ [name: string]: Facts }>('peft_peer.make', {
    ...asked,
    variants: Object.fromEntries(
      names.map((name) => [
        name,
        [folder('theirs', name), { ...SEQ_CLS, ...present(variants[name]).peft }],
      ]),
    ),
    unimplemented: Object.fromEntries(
      Object.entries(unimplemented).map(([name, { config }]) => [
        name,
        [folder('other', name), { ...SEQ_CLS, ...config }],
      ]),
    ),
  });
  const config = bert.parseConfig(await readConfig(checkpoint), classes);
  for (const name of names) {
    const adapter = await lora.create({}, { ...shape, initFrom: folder('theirs', name) });
    const head = await readHead(folder('theirs', name), { architecture: bert, config, classes });
    const network = await openNetwork({
      architecture: bert,
      model,
      classes,
      seed: 1,
      evaluation: true,
      adapter,
      head,
    });
    compare(name, network, present(made[name]));
    assert.equal(
      await lora.check(present(variants[name]).spec, {
        ...shape,
        initFrom: folder('theirs', name),
      }),
      [],
      `${name}: the spec means the same`,
    );
    await saveTrained(network, null, folder('again', name), {
      modelDir: checkpoint,
      classes: labels,
    });
    network.dispose();
  }
  const again = await peer<{ [name: string]: Facts }>('peft_peer.read', {
    ...asked,
    adapters: Object.fromEntries(
      names.map((name) => [name, join(folder('again', name), 'adapter')]),
    ),
    models: {},
    changed: {},
  });
  for (const name of names) {
    sameLayers(present(again[name]).layers, widened(name, present(made[name]).layers), name);
    assert.ok(
      farthest(present(again[name]).logits.flat(), present(made[name]).logits.flat()) <
        tolerance.logits,
      name,
    );
  }
});

test('options of PEFT that are not implemented are faults that name the field', async () => {
  for (const [name, { message }] of Object.entries(unimplemented)) {
    let error: unknown = null;
    try {
      await lora.create({}, { ...shape, initFrom: folder('other', name) });
    } catch (thrown) {
      error = thrown;
    }
    assert.instance(error, UserFault, name);
    assert.match((error as UserFault).message, message, name);
  }
});

test('PEFT and transformers open models trained here with equal logits', async () => {
  const runs = {
    ...Object.fromEntries(
      names.map((name) => [name, { implementation: lora, params: present(variants[name]).spec }]),
    ),
    'freeze-A': { implementation: lora, params: { rank: 4, freeze_a: true } },
    vera: { implementation: vera, params: { rank: 6, d_initial: 0.5 } },
    'vera by its seed': {
      implementation: vera,
      params: {
        rank: 9,
        targets: ['query', 'intermediate.dense'],
        projection_prng_key: 5,
        save_projection: false,
        bias: 'vera_only',
      },
    },
    full: { implementation: full, params: {} },
    'head-only': { implementation: headOnly, params: {} },
    bitfit: { implementation: bitfit, params: {} },
  };
  const networks = new Map<
    string,
    { readonly logits: Float32Array; readonly layers: Facts['layers'] }
  >();
  for (const [name, { implementation, params }] of Object.entries(runs)) {
    const network = await openNetwork({
      architecture: bert,
      model,
      classes,
      seed: 1,
      adapter: await implementation.create(params, shape),
    });
    const trained = await train(network, rows, {
      ...plainTraining,
      steps: 3,
      batchSize: 8,
      learningRate: 0.03,
      weightDecay: 0.01,
      shuffle: true,
    });
    await saveTrained(network, trained, folder('ours', name), {
      modelDir: checkpoint,
      classes: labels,
    });
    const before = logitsOf(network, rows),
      logits = network.forward(rows, trained).dataSync<'float32'>();
    assert.ok(farthest(before, logits) > 0.05, `${name}: training moved it`);
    networks.set(name, { logits, layers: layersOf(network) });
    trained.forEach((tensor) => tensor.dispose());
    network.dispose();
    if (merged.includes(name)) await writeMerged(name, implementation);
  }
  const at = (file: string, some: readonly string[]) =>
    Object.fromEntries(some.map((name) => [name, join(folder('ours', name), file)]));
  const peers = await peer<{ [name: string]: Facts }>('peft_peer.read', {
    ...asked,
    adapters: at('adapter', merged),
    models: {
      ...at('model', ['full']),
      ...Object.fromEntries(merged.map((name) => [`${name}, merged`, folder('merged', name)])),
    },
    changed: at('changed.safetensors', ['head-only', 'bitfit']),
  });
  for (const [name, { logits, layers }] of networks) {
    assert.ok(
      farthest(logits, present(peers[name]).logits.flat()) < tolerance.logits,
      `${name}: ${farthest(logits, present(peers[name]).logits.flat())}`,
    );
    // A whole checkpoint has no adapted layers.
    const theirs = present(peers[name]).layers as Facts['layers'] | undefined;
    for (const [module, [rank, scale]] of Object.entries(theirs ?? {}))
      assert.ok(
        present(layers[module])[0] * widening(name) === rank &&
          Math.abs(present(layers[module])[1] - scale) < 1e-12 * scale,
        `${name}: ${module}`,
      );
    assert.is(Object.keys(layers).length, Object.keys(theirs ?? layers).length, name);
  }
  for (const name of merged)
    assert.ok(
      farthest(
        present(networks.get(name)).logits,
        present(peers[`${name}, merged`]).logits.flat(),
      ) < tolerance.logits,
      `${name}, merged`,
    );
  assert.equal(present(peers['full']).labels, { 0: 'a', 1: 'b', 2: 'c' });
});

test.run();
