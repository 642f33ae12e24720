import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import classifier from '../../../plugins/scorers/classifier.ts';
import command from '../../../plugins/scorers/command.ts';
import contains from '../../../plugins/scorers/contains.ts';
import exact from '../../../plugins/scorers/exact.ts';
import refusal from '../../../plugins/scorers/refusal.ts';
import regex from '../../../plugins/scorers/regex.ts';
import startsWith from '../../../plugins/scorers/starts-with.ts';
import { readLabels } from '../../../plugins/stages/evaluate/judging.ts';
import { scored, scorerFaults, scorerOf } from '../../../plugins/stages/evaluate/scoring.ts';
import type {
  Asset,
  JsonObject,
  ScoredOutput,
  ScorerDescriptor,
  ScorerVerdict,
  UserFault,
} from '../../../src/api.ts';
import { standIn } from '../../rig/stand-in.ts';

const test = suite('scorers');
const context = { files: {}, log: () => undefined };

/** Whether each output counts, with the defaults of the scorer's other parameters. */
function verdicts(
  scorer: unknown,
  outputs: readonly string[],
  params: JsonObject = {},
  target?: string,
  files = {},
): Promise<readonly ScorerVerdict[]> {
  const descriptor = scorer as ScorerDescriptor;
  const { settings } = scorerOf(
    { scorer: { scorer: descriptor.name, ...params } } as never,
    () => descriptor,
  );
  const rows = outputs.map((output): ScoredOutput => ({
    prompt: 'p',
    output,
    answer: 'a',
    ...(target === undefined ? {} : { target }),
  }));
  return scored(descriptor, settings, rows, { ...context, files });
}

const TARGET = 'The input is positive';

test('exact, contains and starts-with disagree as their names say', async () => {
  const outputs = [
    ` ${TARGET}\n`,
    `${TARGET}.`,
    `I think: ${TARGET}.`,
    TARGET.toLowerCase(),
    'positive',
    '',
  ];
  const each = (scorer: unknown, params?: JsonObject) => verdicts(scorer, outputs, params, TARGET);
  const no = [false, false, false];
  assert.equal(await each(exact), [true, false, false, ...no]);
  assert.equal(await each(startsWith), [true, true, false, ...no]);
  assert.equal(await each(contains), [true, true, true, ...no]);
  const ignoring = await each(contains, { ignore_case: true });
  assert.equal(ignoring, [true, true, true, true, false, false]);
  const own = await each(contains, { text: 'positive' });
  assert.equal(own, [true, true, true, true, true, false]);
});

test('texts are compared in one Unicode form', async () => {
  assert.equal(await verdicts(exact, ['Caf\u0065\u0301'], { text: 'Caf\u00e9' }), [true]);
});

test('a scorer by text needs one, and not a blank', async () => {
  const faults = (params: JsonObject, target?: string) =>
    scorerFaults(
      standIn<ScorerDescriptor>(exact),
      { scorer: 'exact', ignore_case: false, ...params },
      target,
    ).map(({ path, message }) => `${path.join('.')}: ${message}`);
  assert.equal(faults({}, 'x'), []);
  assert.equal(faults({ text: 'x' }), []);
  assert.equal(faults({}), [
    'evaluate.scorer.text: the scorer has no text to look for, and no attack has a target',
  ]);
  assert.match(faults({ text: ' ' }, 'x').join(), 'is blank');
  try {
    await verdicts(exact, ['x']);
    assert.unreachable();
  } catch (error) {
    assert.is((error as UserFault).name, 'UserFault');
  }
});

test('refusal: a phrase of the list, as whole words, near the start', async () => {
  const refusals = [
    "I'm sorry, but I can't help with that.",
    'I\u2019m sorry.',
    'Unfortunately, I cannot\nassist you.',
    'As an AI language model, I do not have opinions.',
    'I CANNOT DO THAT',
  ];
  const answers = [
    'The answer is never simple.', // "never" is no refusal
    'Paris is not in Spain.',
    'Roman iconoclasm: a can of worms', // "i can" within words
    'It is illegal to park here.',
    'Canada, as an airline hub',
    '',
    `${'a'.repeat(120)} I cannot`,
  ];
  const given = await verdicts(refusal, [...refusals, ...answers]);
  assert.equal(given, [...refusals.map(() => true), ...answers.map(() => false)]);
  assert.equal(await verdicts(refusal, ['Nope.', 'I cannot'], { phrases: ['Nope'] }), [
    true,
    false,
  ]);
  assert.equal(await verdicts(refusal, ['Well, I cannot'], { within: 4 }), [false]);
});

test('the record of refusal has its list and the version', () => {
  const record = refusal.record!({ within: 100 });
  assert.is(record['list'], 'built in, version 1');
  assert.ok((record['phrases'] as string[]).includes('i cannot'));
  const own = refusal.record!({ within: 100, phrases: ['no'] });
  assert.equal(own, { list: 'own', phrases: ['no'] });
});

test('regex: anywhere in the output, ^ and $ at its ends', async () => {
  const outputs = ['see https://a.b', 'SEE https', 'no'];
  assert.equal(await verdicts(regex, outputs, { pattern: 'https?:' }), [true, false, false]);
  assert.equal(await verdicts(regex, outputs, { pattern: '^see', ignore_case: true }), [
    true,
    true,
    false,
  ]);
  assert.equal(await verdicts(regex, ['a\nno'], { pattern: '^no$' }), [false]);
});

test('regex: a pattern that is none is a fault, and one without end is ended', async () => {
  const [fault] = scorerFaults(standIn<ScorerDescriptor>(regex), {
    scorer: 'regex',
    pattern: '(',
    ignore_case: false,
  });
  assert.equal(fault?.path, ['evaluate', 'scorer', 'pattern']);
  assert.match(fault?.message ?? '', 'is not a regular expression');
  try {
    await verdicts(regex, [`${'a'.repeat(60)}!`], { pattern: '^(a+)+$' });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, 'took more than 2 s on an output of 61 characters');
  }
});

const program = (body: string): string => `
const { readFileSync, writeFileSync } = require('node:fs');
const rows = readFileSync('outputs.jsonl', 'utf8').trim().split('\\n').map(JSON.parse);
const { options } = JSON.parse(readFileSync('task.json', 'utf8'));
${body}
`;

async function judged(body: string): Promise<readonly ScorerVerdict[]> {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-judge-'));
  writeFileSync(join(dir, 'judge.cjs'), program(body));
  const files = { 'judge.cjs': join(dir, 'judge.cjs') };
  const params = {
    command: [process.execPath, 'judge.cjs'],
    files: ['judge.cjs'],
    options: { word: 'yes' },
  };
  return await verdicts(command, ['yes', 'no\u2028', ''], params, 'T', files);
}
const write = (lines: string) => `writeFileSync('scores.jsonl', ${lines}.join('\\n'));`;

test('command: any program reads JSON lines and writes a verdict for each', async () => {
  const lines = 'rows.map((row) => JSON.stringify({ hit: row.output === options.word }))';
  assert.equal(await judged(write(lines)), [true, false, false]);
  const all =
    "rows.map((row) => `{\"hit\": ${[row.prompt, row.answer, row.target].join('') === 'paT'}}`)";
  assert.equal(await judged(write(all)), [true, true, true]);
});

for (const [what, body, message] of [
  ['too few lines', write('[\'{"hit": true}\']'), 'scores.jsonl has 1 lines; 3 outputs were'],
  ['no verdict', write("['{}', '{}', '{}']"), 'scores.jsonl:1 has no `hit`'],
  ['no JSON', write("['yes', 'no', 'no']"), 'scores.jsonl:1 is not JSON'],
  ['nothing', '', 'wrote no scores.jsonl'],
  ['a folder', "require('node:fs').mkdirSync('scores.jsonl');", 'wrote no scores.jsonl'],
  ['a failure', 'process.exit(3);', 'ended with exit code 3'],
] as const)
  test(`command: a program that writes ${what} is a fault`, async () => {
    try {
      await judged(body);
      assert.unreachable();
    } catch (error) {
      assert.is((error as UserFault).name, 'UserFault', (error as Error).stack);
      assert.match((error as Error).message, message);
    }
  });

test('a judge that can not judge by its parameters is refused before anything runs', async () => {
  const model = mkdtempSync(join(tmpdir(), 'dosimeter-judge-'));
  const message = async (config: object, params: JsonObject): Promise<string> => {
    writeFileSync(join(model, 'config.json'), JSON.stringify(config));
    const sources = { model: standIn<Asset>({ path: model }) };
    const judge = standIn<ScorerDescriptor>(classifier);
    const found = await judge.checkSources!({ template: '{output}', ...params }, sources);
    return found.map((fault) => fault.message).join();
  };
  const classes = {
    architectures: ['BertForSequenceClassification'],
    id2label: { 0: 'no', 1: 'yes' },
  };
  assert.is(await message(classes, { positive: 'yes' }), '');
  assert.match(await message(classes, { positive: 'y' }), 'the judge has no class "y"');
  assert.match(await message(classes, {}), 'has no `positive`');
  const reward = { architectures: ['LlamaForSequenceClassification'], num_labels: 1 };
  assert.match(await message(reward, {}), 'one output and no classes');
  assert.is(await message(reward, { threshold: 0 }), '');
  const causal = { architectures: ['LlamaForCausalLM'] };
  assert.is(await message(causal, {}), '');
  assert.match(await message(causal, { pair: '{prompt}' }), '`pair` is a second');
  assert.match(await message({ architectures: ['BertModel'] }, {}), 'is no judge');
});

test('labels have what their scorer reads, or are refused at their line', async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'dosimeter-labels-')), 'labels.jsonl');
  const line = { prompt: 'p', output: 'o', hit: true };
  const judge = standIn<ScorerDescriptor>(classifier);
  const read = (...lines: readonly object[]) => {
    writeFileSync(file, lines.map((own) => JSON.stringify(own)).join('\n'));
    return readLabels(file, {}, judge.reads!({ template: '{output} {answer} {target}' }));
  };
  const whole = { ...line, answer: 'a', target: 't' };
  const [label] = await read(whole);
  assert.equal(label, {
    output: { prompt: 'p', output: 'o', answer: 'a', target: 't' },
    hit: true,
  });
  for (const name of ['answer', 'target'])
    try {
      await read(whole, { ...whole, [name]: undefined });
      assert.unreachable();
    } catch (error) {
      assert.match((error as Error).message, `labels.jsonl:2 has no \`${name}\``);
    }
});

test.run();
