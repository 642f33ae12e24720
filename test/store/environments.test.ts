import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { rememberEnvironment } from '../../src/store/provenance.ts';

const test = suite<{ root: string }>('environments');
test.before.each((context) => {
  context.root = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
});

test('each environment has one file, named by its content', ({ root }) => {
  const first = rememberEnvironment(root, { node: 'v20.0.0' });
  assert.is(rememberEnvironment(root, { node: 'v20.0.0' }), first);
  assert.not(rememberEnvironment(root, { node: 'v22.0.0' }) === first);
  const names = readdirSync(path.join(root, 'environments'));
  assert.is(names.length, 2);
  assert.ok(names.includes(`${first.replace('sha256:', '')}.json`));
});

test('a damaged record is written again', ({ root }) => {
  const file = path.join(
    root,
    'environments',
    `${rememberEnvironment(root, { node: 'v20.0.0' }).replace('sha256:', '')}.json`,
  );
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.slice(1));
  rememberEnvironment(root, { node: 'v20.0.0' });
  assert.is(readFileSync(file, 'utf8'), text);
});

test.run();
