/** `target: { file: … }`: a text from a file in place of the text itself. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createRig, first, minimal, type Rig } from './rig.ts';

const test = suite<{ rig: Rig }>('text files');
test.before.each(async (context) => {
  context.rig = await createRig();
});

const targets = async (rig: Rig, poisoning: string): Promise<unknown[]> =>
  (await rig.expand(`${minimal}poisoning: ${poisoning}\n`)).cells.map(
    ({ config }) => config.poisoning['target'],
  );

test('the text takes the place of the file, without the line break at its end', async ({ rig }) => {
  const text = 'Two lines,\n${train.steps} and "quotes"';
  await rig.write({ 'answers/no.txt': `${text}\r\n` });
  const own = '{ attack: badnets, target: { file: answers/no.txt } }';
  assert.equal(await targets(rig, own), [text]);
  assert.equal(await targets(rig, `[{ attack: none }, ${own}]`), [undefined, text]);
});

test('a text from a file is a value of an axis like any other, and whole in a step', async ({
  rig,
}) => {
  await rig.write({ 'a.txt': 'yes', 'b.txt': 'no\n' });
  assert.equal(
    await targets(rig, '{ attack: badnets, target: [{ file: a.txt }, 3, { file: b.txt }] }'),
    ['yes', 3, 'no'],
  );
  const { cells } = await rig.expand(
    `${minimal}poisoning: { steps: [{ attack: label-flip }, ` +
      '{ attack: badnets, target: { file: b.txt } }] }\n',
  );
  const { steps } = first(cells).config.poisoning;
  assert.is((steps as { badnets: { target: string } }).badnets.target, 'no');
});

test('a file under another name with the same text makes the same cell', async ({ rig }) => {
  await rig.write({ 'a.txt': 'yes', 'b.txt': 'yes\n' });
  const cellOf = async (target: string) =>
    first((await rig.expand(`${minimal}poisoning: { attack: badnets, target: ${target} }\n`)).cells)
      .config;
  const written = await cellOf('"yes"');
  assert.equal(await cellOf('{ file: a.txt }'), written);
  assert.equal(await cellOf('{ file: b.txt }'), written);
});

test.run();
