/** Secrets in files and in logs: the searches of both look for the same lines. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fileWithSecret } from '../../../plugins/stages/command/run.ts';
import { redactor } from '../../../src/base/secret.ts';

const test = suite<{ dir: string }>('leak');
test.before.each((context) => {
  context.dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-leak-test-'));
  mkdirSync(path.join(context.dir, 'a'));
});

for (const [name, secret, text, found] of [
  ['the whole', 'hunter2-0a7f', 'it is hunter2-0a7f.', true],
  ['the second line of several alone', 'begin\r\nhunter2-0a7f\nend\n', 'it is hunter2-0a7f.', true],
  ['several lines that are short each', 'ab\ncd\nef', 'ab\ncd\nef', true],
  ['a short line of several alone', 'ab\nhunter2-0a7f', 'ab', false],
  ['a short secret', 'abc', 'abc', false],
] as const)
  test(`${found ? 'found' : 'not looked for'} in a file and in a log: ${name}`, async ({ dir }) => {
    writeFileSync(path.join(dir, 'a', 'out.txt'), text);
    assert.is(await fileWithSecret(dir, secret), found ? path.join('a', 'out.txt') : null);
    const redacted = redactor(['KEY'], { KEY: secret })(text);
    assert.is(redacted.includes('${env.KEY}'), found);
  });

test('found where two chunks of a large file meet, by the longest of its lines', async ({
  dir,
}) => {
  const chunk = 64 * 1024;
  writeFileSync(
    path.join(dir, 'large'),
    `${'x'.repeat(chunk - 2)}hunter2-0a7f${'x'.repeat(chunk)}`,
  );
  assert.is(await fileWithSecret(dir, 'begin\nhunter2-0a7f'), 'large');
});

test.run();
