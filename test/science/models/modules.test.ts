/** The rules of PEFT 0.21, which test/peers compares with PEFT itself. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../src/api.ts';
import {
  isTargeted,
  layerNumber,
  patternKey,
  patternValue,
} from '../../../src/science/models/modules.ts';

const query = 'bert.encoder.layer.1.attention.self.query',
  output = 'bert.encoder.layer.1.output.dense';

test('a list has names or dotted ends; a string is an expression for whole names', () => {
  assert.ok(
    isTargeted(query, { targets: ['query'] }) &&
      isTargeted(query, { targets: ['self.query'] }) &&
      isTargeted(query, { targets: [query] }),
  );
  assert.not.ok(isTargeted(query, { targets: ['uery', 'attention', 'bert.encoder'] }));
  assert.ok(isTargeted(query, { targets: '.*\\.(query|key)' }));
  assert.not.ok(
    isTargeted(query, { targets: 'query' }) || isTargeted(query, { targets: '.*self' }),
  );
});

test('modules can be excluded by a list or an expression', () => {
  assert.not.ok(isTargeted(query, { targets: '.*', exclude: ['query'] }));
  assert.not.ok(isTargeted(query, { targets: ['query'], exclude: '.*layer\\.1\\..*' }));
  assert.ok(isTargeted(query, { targets: ['query'], exclude: '.*layer\\.2\\..*' }));
});

test('a list of targets can be restricted to numbered layers', () => {
  assert.is(layerNumber(query), 1);
  assert.is(layerNumber('bert.pooler.dense'), null);
  assert.is(layerNumber('model.layers.3.experts.7.up'), 3, 'the first number');
  assert.is(layerNumber('model.layers.3.experts.7.up', ['experts']), 7);
  assert.ok(
    isTargeted(query, { targets: ['query'], layers: [0, 1] }) &&
      isTargeted(query, { targets: ['query'], layers: [] }),
  );
  assert.not.ok(
    isTargeted(query, { targets: ['query'], layers: [0, 2] }) ||
      isTargeted('bert.pooler.dense', { targets: ['dense'], layers: [0] }),
  );
  assert.not.ok(isTargeted(query, { targets: ['query'], layers: [1], layersPattern: ['block'] }));
});

test('the first matching key of a pattern applies, read as an expression for a dotted end', () => {
  assert.is(patternValue({ query: 4, '.*': 2 }, query), 4);
  assert.is(patternValue({ '.*': 2, query: 4 }, query), 2);
  assert.is(patternValue({ 'layer.1.output.dense': 3 }, output), 3);
  assert.is(patternValue({ 'layer\\.[02]\\.output\\.dense': 3 }, output), undefined);
  assert.is(
    patternKey(['put.dense', 'output'], output),
    null,
    'neither a part of a name nor its middle',
  );
});

test('an expression that cannot be read, or that Python might read differently, is refused', () => {
  for (const source of ['(', '\\Aquery', '(?i)query']) {
    assert.throws(
      () => isTargeted(query, { targets: source }),
      (error: unknown) => error instanceof UserFault && error.message.includes(source),
    );
    assert.throws(
      () => patternKey([source], query),
      (error: unknown) => error instanceof UserFault,
    );
  }
});

test.run();
