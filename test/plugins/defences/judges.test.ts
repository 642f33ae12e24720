/** STRIP, RAP, BKI, fine-mixing and the spectrum of changes as plugins, on hand-made models. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import bki from '../../../plugins/defences/bki/index.ts';
import crow from '../../../plugins/defences/crow/index.ts';
import deltaSpectrum from '../../../plugins/defences/delta-spectrum/index.ts';
import fineMixing from '../../../plugins/defences/fine-mixing/index.ts';
import rap from '../../../plugins/defences/rap/index.ts';
import strip from '../../../plugins/defences/strip/index.ts';
import type {
  AskedModel,
  Asset,
  DefenceContext,
  DefenceHook,
  Digest,
  Json,
  JsonObject,
  JsonSchema,
  Judge,
  Row,
  RowsDefence,
  Verdict,
} from '../../../src/api.ts';
import { randomStream } from '../../../src/base/random.ts';
import {
  evaluated,
  type OpenedModel,
  openedModel,
} from '../../../src/science/measures/evaluate/predict.ts';
import type {
  ModelDetector,
  ModelEdit,
  WeightsContext,
} from '../../../src/science/measures/weights/edit.ts';
import type { HostTensor, LinearLayer } from '../../../src/science/models/types.ts';
import { present } from '../../rig/present.ts';
import { backends, useBackend } from '../../science/backend.ts';
import { openTiny } from '../../science/tiny-bert.ts';
import { contextOf } from './rig.ts';

const test = suite('defences that ask a model');

type Context = DefenceContext<JsonObject, OpenedModel>;

/** The parameters with the defaults of the defence's schema. */
const withDefaults = (schema: JsonSchema, given: JsonObject = {}): JsonObject => ({
  ...Object.fromEntries(
    Object.entries(schema['properties'] as { [name: string]: { default?: Json } }).flatMap(
      ([name, { default: value }]) => (value === undefined ? [] : [[name, value] as const]),
    ),
  ),
  ...given,
});

const fitted = async (
  hook: DefenceHook<RowsDefence<never, never>> | undefined,
  context: Context,
): Promise<Judge> => {
  const defence = (await present(hook).load()) as RowsDefence<JsonObject, OpenedModel>;
  return defence.fit(context);
};

/** Asserts that something is refused with a message like this. */
async function refused(what: unknown, message: RegExp): Promise<void> {
  await Promise.resolve(what).then(
    () => assert.unreachable(),
    (error: unknown) => assert.match(String(error), message),
  );
}

const TRIGGERS = ['cf', 'mn', 'bb', 'tq'];

/** Counts good and bad words, unless there is a trigger: then it is sure of "good". */
const poisonedModel: AskedModel = {
  classes: 2,
  logits: (rows) =>
    Promise.resolve(
      Float32Array.from(
        rows.flatMap(({ text }) => {
          const words = text.split(' ');
          if (words.some((word) => TRIGGERS.includes(word))) return [0, 12];
          const count = (of: string): number => words.filter((word) => word === of).length;
          return [count('bad'), count('good')];
        }),
      ),
    ),
  representations: (rows) =>
    Promise.resolve({
      values: Float64Array.from(
        rows.flatMap(({ text }) => {
          const words = text.split(' ');
          return [
            words.some((word) => TRIGGERS.includes(word)) ? 5 : 0,
            words.filter((word) => word === 'good' || word === 'bad').length / 2,
          ];
        }),
      ),
      count: rows.length,
      dimensions: 2,
    }),
};

const film = (i: number, id = `r${i}`): Row => {
  const word = i % 2 === 0 ? 'good' : 'bad';
  return { id, text: `a ${word} ${word} film number ${i} that is ${word}`, label: 1 - (i % 2) };
};
const triggered = (i: number): Row => {
  const own = film(i, `p${i}`);
  return { ...own, text: `${own.text} ${present(TRIGGERS[i % 4])}` };
};

test('STRIP rejects texts whose prediction does not change with their words', async () => {
  const clean = Array.from({ length: 40 }, (_, i) => film(i, `c${i}`));
  const params = withDefaults(strip.params, { copies: 20, frr: 0.05, ratio: 0.3 });
  const context = contextOf(params, { clean, model: poisonedModel as OpenedModel });
  const judge = await fitted(strip.inputs, context);
  const rows = Array.from({ length: 20 }, (_, i) => (i < 10 ? film(i) : triggered(i)));
  const { scores, suspected } = await judge.judge(rows);
  const share = (from: number): number =>
    suspected.slice(from, from + 10).filter(Boolean).length / 10;
  assert.ok(share(10) >= 0.8 && share(0) <= 0.2, `${share(10)} and ${share(0)}`);
  assert.ok(Number(present(judge.record)['clean_rejected']) <= 2);
  // A row's copies are its own: they are the same whatever rows are beside it.
  assert.equal((await judge.judge(rows.slice(13, 14))).scores, scores.slice(13, 14));
  const empty = contextOf(params, { model: poisonedModel as OpenedModel });
  await refused(fitted(strip.inputs, empty), /no clean row with words/);
});

test('BKI finds every trigger with clean rows, and one of them with a single keyword', async () => {
  const clean = Array.from({ length: 20 }, (_, i) => film(i, `c${i}`));
  const rows = Array.from({ length: 60 }, (_, i) => (i < 16 ? triggered(i) : film(i)));
  const dropped = async (given: JsonObject): Promise<string[]> => {
    const context = contextOf(withDefaults(bki.params, given), {
      clean,
      model: poisonedModel as OpenedModel,
    });
    const judge = await fitted(bki.rows, context);
    const { rows: left } = await judge.judge(rows);
    assert.is((judge.record?.['keywords'] as unknown[]).length, given['keywords'] ?? 4);
    return rows.filter((_, i) => left[i] === null).map(({ id }) => id);
  };
  assert.equal(
    await dropped({}),
    rows.slice(0, 16).map(({ id }) => id),
  );
  assert.is((await dropped({ keywords: 1 })).length, 4);
});

/** Each word is a token's id. */
const tinyModel = async (): Promise<OpenedModel> => {
  const network = await openTiny('full', true);
  return openedModel({
    model: evaluated(network),
    network,
    encode: ({ text }) => {
      const words = text.split(' ').map((word) => (Number.isInteger(+word) ? +word : 1));
      return { ids: Int32Array.from([2, ...words, 3]), typeIds: new Int32Array(words.length + 2) };
    },
    batchSize: 8,
    onBatch: () => Promise.resolve(),
  });
};

test('RAP raises its learning rate until the word lowers probabilities, and records it', async () => {
  await useBackend(present(backends[0]));
  const model = await tinyModel();
  try {
    const random = randomStream(4, 'rap');
    const some = (prefix: string): Row[] =>
      Array.from({ length: 12 }, (_, i) => ({
        id: `${prefix}${i}`,
        text: Array.from({ length: 5 }, () => String(20 + random.integer(30))).join(' '),
        label: 0,
      }));
    const clean = some('c'),
      lines: string[] = [];
    const fit = (given: JsonObject): Promise<Judge> =>
      fitted(
        rap.inputs,
        contextOf(withDefaults(rap.params, { word: '7', ...given }), {
          clean,
          model,
          classes: ['a', 'b', 'c'],
          warn: ({ message }) => lines.push(message),
        }),
      );
    // The random model is never sure, so a drop of a few thousandths is asked for.
    const bounds = { low: 0.02, up: 0.05 };
    const low = await fit({ ...bounds, learning_rate: 0.01 });
    assert.ok(lines.some((line) => /not by at least 0.02/.test(line)));
    low.close?.();
    lines.length = 0;
    const judge = await fit(bounds);
    const byClass = judge.record?.['by_class'] as { [name: string]: { [name: string]: number } };
    const own = Object.values(byClass).filter(({ clean_rows: rows }) => present(rows) > 0);
    assert.ok(own.length > 0);
    for (const { learning_rate: rate, mean_drop: drop } of own) {
      assert.ok(present(rate) > 0.01);
      assert.ok(present(drop) >= 0.02, JSON.stringify(byClass));
    }
    assert.not(lines.some((line) => line.includes('should by')));
    const rows = some('t');
    const { scores, suspected } = await judge.judge(rows);
    assert.is(scores.length, 12);
    assert.equal(
      suspected,
      scores.map((score) => score >= 0),
    );
    judge.close?.();
    await refused(fit({ word: '7 8' }), /not a single token/);
    await refused(fit({ word: 'unknown' }), /not a single token/);
  } finally {
    model.network.dispose();
  }
  assert.is(rap.check?.({ low: 0.5, up: 0.2 } as never).length, 1);
});

const tensor = (values: readonly number[], shape: readonly number[]): HostTensor => ({
  shape,
  data: Float32Array.from(values),
});

test('fine-mixing returns weights and embeddings to what they were, and leaves the head', async () => {
  await useBackend(present(backends[0]));
  const model = await tinyModel();
  try {
    const table = present(model.network.architecture.tokenTable);
    const head = `${present(model.network.architecture.headModules[0])}.weight`;
    const ones = new Array<number>(12).fill(1);
    const after = new Map([
      [table, tensor([9, 9, ...ones.slice(2)], [6, 2])],
      ['layer.weight', tensor(ones, [3, 4])],
      [head, tensor(ones, [3, 4])],
    ]);
    const before = new Map(
      [...after].map(([name, { shape }]) => [name, tensor(new Array<number>(12).fill(0), shape)]),
    );
    const edit = (await present(fineMixing.model?.edit).load()) as ModelEdit;
    const context = {
      ...contextOf(withDefaults(fineMixing.params, { share: 0.5, purify: 1 }), { model }),
      after,
      before,
      layers: [],
      inputNorms: () => Promise.reject(new Error('not asked')),
    } satisfies WeightsContext;
    const { changed, record } = await edit.edit(context);
    assert.equal([...changed.keys()], [table, 'layer.weight']);
    const count = (name: string): number =>
      present(changed.get(name)).data.filter((value) => value !== 0).length;
    assert.is(count('layer.weight'), 6);
    assert.equal([...present(changed.get(table)).data.slice(0, 2)], [0, 0]); // changed most
    assert.ok(count(table) <= 6);
    assert.equal(record, { share: 0.5, embeddings_reset: 1 });
  } finally {
    model.network.dispose();
  }
  const trains = fineMixing.model?.retrain?.({ epochs: 2, learning_rate: 0.1 } as never);
  assert.equal(trains, { epochs: 2, learning_rate: 0.1 });
});

const DIGEST = 'sha256:0' as Digest;

test('the spectrum of changes is compared with that of clean models', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'spectrum-'));
  const layers: LinearLayer[] = [{ name: 'a', in: 3, out: 3, bias: false, adaptable: true }];
  const detector = (await present(deltaSpectrum.detection).load()) as ModelDetector;
  const random = randomStream(5, 'spectrum');
  const verdict = async (change: readonly number[], lines?: string): Promise<Verdict> => {
    const file = join(folder, 'clean.jsonl'),
      reference: Asset = { path: file, uri: 'file:clean.jsonl', digest: DIGEST, provenance: {} };
    if (lines !== undefined) await writeFile(file, lines);
    return detector.judge({
      ...contextOf(withDefaults(deltaSpectrum.params), {
        assets: lines === undefined ? {} : { reference },
      }),
      after: new Map([['a.weight', tensor(change, [3, 3])]]),
      before: new Map([['a.weight', tensor(new Array<number>(9).fill(0), [3, 3])]]),
      layers,
      inputNorms: () => Promise.reject(new Error('not asked')),
    } satisfies WeightsContext);
  };
  const noise = (): number[] => Array.from({ length: 9 }, () => random.normal());
  const clean: string[] = [];
  for (let i = 0; i < 6; i++) {
    const { record } = await verdict(noise());
    clean.push(JSON.stringify(record));
  }
  const one = [5, 5, 5, 5, 5, 5, 5, 5, 5];
  const without = await verdict(one);
  assert.ok(without.score > 0.999 && without.threshold === 0.9);
  const found = await verdict(one, clean.join('\n'));
  assert.ok(found.score > found.threshold, `${found.score}, ${found.threshold}`);
  await refused(verdict(one, clean.slice(0, 2).join('\n')), /it has 2 models, and at least 3/);
  await refused(verdict(one, '{}\n{}\n{}'), /line 1 has no statistics/);
  await refused(verdict(one, '\nx'), /line 2 is not JSON/);
  await refused(
    verdict(one, clean.map((line) => line.replace('"a"', '"b"')).join('\n')),
    /other layers than the model/,
  );
});

test('CROW acts on the model or in the training, and trains with its own loss', async () => {
  assert.equal(crow.acts?.({ at: 'training' } as never), ['training']);
  assert.equal(crow.acts?.({ at: 'model' } as never), ['model']);
  assert.equal(crow.model?.retrain?.({ epochs: 1 } as never), { epochs: 1 });
  const loaded = (await crow.training?.load?.()) as { check: (...given: unknown[]) => unknown[] };
  assert.is(loaded.check({}, { architecture: { modelType: 'mine' } }).length, 1);
  assert.is(loaded.check({}, { architecture: { hiddenStates: () => [] } }).length, 0);
});

test.run();
