import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { describeCompiled } from '../../src/tensor/compiled/compiled.ts';

const look = (functions: number, operations: number, seconds: number, calls: number) => ({
  made: { functions, operations, seconds },
  calls,
});

test('what a stage compiled is told in one line', () => {
  assert.is(
    describeCompiled(null, look(2, 1140, 0.41, 311)),
    'compiled 2 functions (1,140 operations) in 0.4 s, called functions 311 times',
  );
  assert.is(
    describeCompiled(look(2, 1140, 0.41, 311), look(3, 1141, 0.52, 312)),
    'compiled 1 function (1 operation) in 0.1 s, called functions 1 time',
  );
});

test('a stage that only calls what was there says so; one that calls nothing says nothing', () => {
  const before = look(2, 1140, 0.41, 311);
  assert.is(
    describeCompiled(before, look(2, 1140, 0.41, 411)),
    'called functions that were compiled before, 100 times',
  );
  assert.is(describeCompiled(before, before), null);
  assert.is(describeCompiled(null, null), null);
});

test.run();
