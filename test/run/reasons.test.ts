import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Digest } from '../../src/api.ts';
import type { KeyComponents } from '../../src/plan/types.ts';
import { differences, nearest } from '../../src/run/reasons.ts';

const test = suite('explain');
const digest = (name: string): Digest => `sha256:${name}` as Digest;
const before: KeyComponents = {
  kind: 'train',
  code: { 'stages/train': digest('t1'), 'attacks/badnets': digest('b1') },
  params: { adapter: { type: 'lora', rank: 8 }, targets: ['a'], steps: 3 },
  inputs: { rows: digest('r1') },
  assets: { model: digest('m1') },
  backend: 'tensorflow',
};
const said = (after: Partial<KeyComponents>): string[] =>
  differences(before, { ...before, ...after }, (code) => closures[code] ?? null);
const closures: { readonly [code: string]: { readonly [part: string]: string } } = {
  'sha256:t1': { 'plugins/stages/train.ts': '1', 'src/optim.ts': '1', 'npm:vega': '6' },
  'sha256:t2': { 'plugins/stages/train.ts': '2', 'npm:vega': '6', 'src/new.ts': '1' },
};

test('each part of a key says what changed', () => {
  assert.equal(said({}), []);
  assert.equal(
    said({ params: { adapter: { type: 'lora', rank: 16 }, targets: ['a', 'b'], seed: 1 } }),
    ['adapter.rank 8 → 16', 'targets ["a"] → ["a","b"]', 'steps 3 → (absent)', 'seed (absent) → 1'],
  );
  assert.equal(said({ inputs: { rows: digest('r2'), twin: digest('x') } }), [
    'input rows has other content',
    'input twin is new',
  ]);
  assert.equal(said({ assets: {} }), ['model is gone']);
  assert.equal(said({ backend: 'wasm' }), ['backend tensorflow → wasm']);
});

test('changed code is named by file if its parts are known', () => {
  assert.equal(said({ code: { ...before.code, 'stages/train': digest('t2') } }), [
    'plugins/stages/train.ts changed',
    'src/optim.ts is gone',
    'src/new.ts is new',
  ]);
  assert.equal(said({ code: { 'stages/train': digest('t1'), 'attacks/badnets': digest('b2') } }), [
    'the code of attacks/badnets changed',
  ]);
  assert.equal(said({ code: { 'stages/train': digest('t1') } }), [
    'attacks/badnets is no longer used',
  ]);
});

test('the nearest entry has the fewest differences; among equals it is the newest', () => {
  const at = (
    created: string,
    params: KeyComponents['params'],
  ): { components: KeyComponents; created: string } => ({
    components: { ...before, params },
    created,
  });
  const far = at('2026-03-01', { steps: 9 }),
    old = at('2026-01-01', { ...before.params, steps: 4 }),
    young = at('2026-02-01', { ...before.params, steps: 5 });
  assert.is(nearest(before, [far, old, young]), young);
  assert.is(nearest(before, []), null);
  assert.is(
    nearest(before, [far, old, young], (one, n) => one === young && n === 1),
    old,
  );
  assert.is(
    nearest(before, [far, old, young], (one) => one !== far),
    young,
    'all of the nearest are of others',
  );
});

test('among equals, code that changed in a file comes before code of another file', () => {
  const parts: typeof closures = {
    stored: { 'shout.mjs': '1' },
    edited: { 'shout.mjs': '2' },
    namesake: { 'bad.mjs': '1' },
  };
  const of = (attack: string): KeyComponents => ({
    ...before,
    code: { 'attacks/shout': attack as Digest },
  });
  const own = { components: of('stored'), created: '2026-01-01' },
    newer = { components: of('namesake'), created: '2026-02-01' };
  const closureOf = (name: string) => parts[name] ?? null;
  assert.is(
    nearest(of('edited'), [own, newer], () => false, closureOf),
    own,
  );
  assert.is(
    nearest(of('edited'), [own, newer], (one) => one === own, closureOf),
    own,
  );
  assert.equal(differences(own.components, of('edited'), closureOf), ['shout.mjs changed']);
});

test.run();
