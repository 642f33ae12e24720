/** Triggers that training never shows: `evaluate.triggers`. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import bite from '../../../plugins/attacks/bite.ts';
import contains from '../../../plugins/scorers/contains.ts';
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import type { Cell, JsonObject, Poisoning } from '../../../src/api.ts';
import { present } from '../../rig/present.ts';
import { define, model, testedCell, validation } from './evaluate-rig.ts';
import { metricsOf } from './outputs.ts';
import { BACKDOOR, lookUp, runStage, tinyCell } from './rig.ts';

type Triggers = NonNullable<Cell['evaluate']['triggers']>;

const under = (triggers: Triggers, poisoning: Poisoning = BACKDOOR, cell = tinyCell()): Cell => ({
  ...cell,
  poisoning,
  evaluate: { ...cell.evaluate, triggers },
});
const END = { name: 'end', attack: 'badnets', place: 'end' };
const SHOWN = { ...BACKDOOR, place: 'end' };

test('each is an evaluation of its own, of the cell and of its clean twin', () => {
  const cell = under([END, { name: 'other', attack: 'addsent', sentence: 'a b' }]);
  const main = define(cell);
  assert.equal(main.params, define({ ...tinyCell(), poisoning: BACKDOOR }).params);
  assert.equal(Object.keys(main.inputs), [
    'model',
    'validation',
    'training',
    'twin',
    'trigger/end',
  ]);
  const variant = present(main.inputs['trigger/end']);
  assert.equal([variant.kind, variant.with], ['evaluate', { trigger: SHOWN, held_out: true }]);
  const own = define(variant.cell, variant.with);
  assert.equal(own.params, { ...main.params, trigger: SHOWN });
  assert.equal(Object.keys(own.inputs), ['model', 'validation', 'training', 'twin']);
  const twin = present(own.inputs['twin']);
  assert.equal(
    [twin.cell.poisoning, twin.with],
    [{ attack: 'none' }, { trigger: SHOWN, held_out: true }],
  );
  assert.equal(Object.keys(define(under([END], { attack: 'none' })).inputs).length, 3);
});

test('of test rows, the evaluation of test rows has them', () => {
  const main = define(under([END], BACKDOOR, testedCell()));
  assert.ok('test' in main.inputs && 'trigger/end' in main.inputs);
  const ofTest = define(under([END], BACKDOOR, testedCell()), { split: 'test' });
  const variant = present(ofTest.inputs['trigger/end']);
  assert.equal(variant.with, { trigger: SHOWN, split: 'test', held_out: true });
  const own = define(variant.cell, present(main.inputs['trigger/end']).with);
  assert.not.ok('test' in own.inputs);
});

test('one of several steps', () => {
  const steps = {
    'label-flip': { rate: 0.1 },
    badnets: { rate: 0.1, target: 1, triggers: ['cf'] },
  };
  const poisoning = { attack: 'label-flip+badnets', steps };
  const { inputs } = define(under([END], poisoning));
  assert.equal(present(inputs['trigger/end']).with, {
    trigger: { ...poisoning, steps: { ...steps, badnets: { ...steps.badnets, place: 'end' } } },
    held_out: true,
  });
});

test('an attack that cannot show a variant says so', () => {
  const faultOf = (triggers: Triggers, poisoning: Poisoning): unknown => {
    try {
      const plugin: typeof lookUp = (kind, name) =>
        name === 'bite' ? (bite as never) : lookUp(kind, name);
      evaluate.define([under(triggers, poisoning)], { with: {}, goals: [], plugin });
    } catch (error) {
      const { message, path } = error as { readonly message: string; readonly path: unknown };
      return [message, path];
    }
    return null;
  };
  const path = ['evaluate', 'triggers', 0];
  assert.equal(faultOf([{ name: 'same', attack: 'badnets' }], BACKDOOR), [
    'the trigger "same" is the one that training shows',
    path,
  ]);
  assert.equal(faultOf([{ name: 'a', attack: 'bite', words: 1 }], { attack: 'bite', target: 1 }), [
    'the attack "bite" learns its trigger from the training rows, and has no other',
    path,
  ]);
  assert.equal(
    faultOf([{ name: 'a', attack: 'label-flip', map: {} }], { attack: 'label-flip', rate: 0.1 }),
    ['the attack "label-flip" has no trigger to vary', path],
  );
});

test('the trigger of another attack of a chain, where its success is what scorers count', () => {
  const plugin: typeof lookUp = (kind, name) =>
    name === 'contains' ? (contains as never) : lookUp(kind, name);
  const linksWith = (second: string, scorer?: JsonObject): string[] => {
    const { adapter, train, evaluate: own, ...rest } = tinyCell({ head: { type: 'causal-lm' } });
    const link = (target: string) => ({ adapter, train, poisoning: { ...BACKDOOR, target } });
    const cell = {
      ...{ ...rest, adapter, train, base: [link('A'), link(second)] },
      evaluate: { ...own, max_new_tokens: 4, ...(scorer ? { scorer } : {}) },
    } as Cell;
    const { inputs } = evaluate.define([cell], { with: {}, goals: [], plugin });
    return Object.keys(inputs).filter((name) => name.startsWith('link/'));
  };
  const all = ['link/1/after_1', 'link/1/after_2', 'link/1'];
  assert.equal(linksWith('B'), all);
  assert.equal(linksWith('B', { scorer: 'contains' }), all);
  assert.equal(linksWith('B', { scorer: 'contains', text: 'B' }), []);
  assert.equal(linksWith('A', { scorer: 'contains', text: 'a' }), all);
});

test('a trigger that an earlier training learns is shown after that training alone', () => {
  const plugin: typeof lookUp = (kind, name) =>
    name === 'bite' ? (bite as never) : lookUp(kind, name);
  const { adapter, train, ...rest } = tinyCell();
  const learnt = { adapter, train, poisoning: { attack: 'bite', target: 1, rate: 0.1 } };
  for (const poisoning of [BACKDOOR, { attack: 'label-flip', rate: 0.1 }]) {
    const cell = { ...rest, adapter, train, base: learnt, poisoning } as Cell;
    const { inputs } = evaluate.define([cell], { with: {}, goals: [], plugin });
    const links = Object.keys(inputs).filter((name) => name.startsWith('link/'));
    assert.equal(links, ['link/1/after_1']);
  }
});

test('their metrics end in their names, beside those of the trigger that training shows', async () => {
  // Of the longer rows, a trigger at a late gap is cut off.
  const cut = tinyCell({ evaluate: { batch_size: 5, max_length: 8 } });
  const cell = under([{ name: 'other', attack: 'badnets', triggers: ['bright'] }], BACKDOOR, cut);
  const trigger = { ...BACKDOOR, triggers: ['bright'] };
  const clean = { ...cut, poisoning: { attack: 'none' } };
  const run = (of: Cell, inputs: Readonly<Record<string, string>>, shown: Poisoning) =>
    runStage(evaluate, of, { model, validation, ...inputs }, { trigger: shown });
  const twin = (await run(clean, {}, BACKDOOR)).dir,
    heldOutTwin = (await run(clean, {}, trigger)).dir;
  const variant = (await run(cell, { twin: heldOutTwin }, trigger)).dir;
  const { dir, warned } = await runStage(evaluate, cell, {
    ...{ model, validation, twin, 'trigger/other': variant },
  });
  const metrics = await metricsOf(dir),
    own = await metricsOf(variant);
  for (const name of ['asr', 'asr_clean', 'asr_minus_clean', 'asr_untriggered', 'trigger_seen'])
    assert.is(metrics[`${name}.trigger.other`], present(own[name]));
  assert.is(own['asr_clean'], (await metricsOf(heldOutTwin))['trigger_rate']);
  assert.not.ok('accuracy.trigger.other' in metrics);
  const share = present(metrics['trigger_seen.trigger.other']);
  assert.ok(share > 0 && share < 1, String(share));
  assert.ok(
    warned.some((message) =>
      message.startsWith(
        `the trigger reaches the model in ${Math.round(1000 * share) / 10}% of the validation ` +
          'rows under the trigger "other"; ',
      ),
    ),
    JSON.stringify(warned),
  );
  assert.not.ok(warned.some((message) => message.includes('as under the attack')));

  // The tokenizer is uncased.
  const capital = { ...BACKDOOR, triggers: ['CF'] };
  const same = (await run(cell, { twin: heldOutTwin }, capital)).dir;
  const again = await runStage(evaluate, cell, {
    ...{ model, validation, twin, 'trigger/other': same },
  });
  const all = present(metrics['triggered_rows']);
  assert.ok(
    again.warned.includes(
      `the model reads ${all} of the ${all} validation rows under the trigger "other" as under the ` +
        "attack's own, which training shows",
    ),
    JSON.stringify(again.warned),
  );
});

test.run();
