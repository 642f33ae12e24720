/** Faults in `report`. */
import { minimal } from '../rig.ts';
import { type Fault, testFaults } from './check.ts';

const grid = `${minimal}poisoning: [{ attack: none }, { attack: badnets, rate: [0.1, 0.2] }]
adapter: [{ type: full }, { type: lora, rank: [4, 8] }]
`;
const figure = (fields: string): string =>
  `${grid}report:
  figures:
    - { name: a, ${fields} }
`;

/** A fault at the last place of the spec that has the text `mark`. */
const at = (spec: string, mark: string, code: string, message: string, hint?: string): string => {
  const before = spec.slice(0, spec.lastIndexOf(mark)).split('\n');
  const line = before.length,
    column = before.at(-1)?.length ?? 0,
    edge = ' '.repeat(String(line).length);
  return [
    `error[${code}]: ${message}`,
    `${edge}--> DIR/spec.yaml:${line}:${column + 1}`,
    `${edge} |`,
    `${line} | ${spec.split('\n')[line - 1] ?? ''}`,
    `${edge} | ${' '.repeat(column)}${'^'.repeat(mark.length)}`,
    ...(hint === undefined ? [] : [`${edge} = ${hint}`]),
  ].join('\n');
};

const one = (
  fault: string,
  fields: string,
  mark: string,
  ...[code, message, hint]: readonly [code: string, message: string, hint?: string]
): Fault => ({
  fault,
  spec: figure(fields),
  shows: at(figure(fields), mark, code, message, hint),
});

/** A figure with an envelope, over test rows unless they are what is missing. */
function envelope(
  fault: string,
  fields: string,
  mark: string,
  ...[code, message, hint]: readonly [code: string, message: string, hint?: string]
): Fault {
  const x = fault.endsWith('steps') ? 'step' : 'rate';
  const own = figure(`x: ${x}, y: asr, envelope: { ${fields} }`).replace(
    'adapter:',
    'seeds: [1, 2]\nadapter:',
  );
  const spec = fault.endsWith('without test rows')
    ? own
    : own.replace('data: {', 'data: { test: { source: "npm:test" },');
  return { fault, spec, shows: at(spec, mark, code, message, hint) };
}

/** The attack is on the base, whose dose is on x. */
const ofBase = figure('x: rate, y: asr, envelope: { over: attack, highest: asr }')
  .replace('poisoning:', 'base: { poisoning:')
  .replace(/(rate: .*)$/m, '$1 }')
  .replace('data: {', 'data: { test: { source: "npm:test" },');

const CSV = `task,series,n,mean
sst2,lora,4,0.9
sst2,full,x,0.5
`;
/** A figure with published numbers. */
const beside = (file: string, ...lines: readonly string[]): string =>
  `${grid}report:
  figures:
    - name: a
      x: rank
      y: asr
      overlay:
        file: ${file}
        citation: C
${lines.map((line) => `        ${line}\n`).join('')}`;

const overlay = (
  fault: string,
  lines: readonly string[],
  mark: string,
  ...[code, message, hint]: readonly [code: string, message: string, hint?: string]
): Fault => {
  const spec = beside('p.csv', ...lines);
  return { fault, spec, files: { 'p.csv': CSV }, shows: at(spec, mark, code, message, hint) };
};
const ROW = ['where: { series: lora }', 'x: n', 'y: mean'];

testFaults('faults: report', [
  one(
    'an unknown field',
    'x: rank, y: asr, colour: adapter',
    'colour',
    'unknown-key',
    'unknown key "colour" in "report.figures"',
    'did you mean "color"?',
  ),
  one(
    'no x',
    'y: asr',
    '{ name: a, y: asr }',
    'missing-key',
    '"report.figures.x" is missing',
    'An axis, `seed`, a metric, `step`, the steps of training at which `train.evaluate_every` measured, or `training`, the position in a chain of trainings (`base`)',
  ),
  one(
    'a cell pattern with seeds',
    'x: rank, y: asr, cells: { seed: 1 }',
    'seed',
    'unknown-key',
    'an entry is over all seeds of a cell',
    'leave it out; for a part of the seeds, there is --only seed=1',
  ),
  one(
    'a name with capitals',
    'x: rank, y: asr }\n    - { name: Main, x: rank, y: asr',
    'Main',
    'wrong-form',
    '"report.figures.name" has the wrong form: "Main"',
    'it must match /^[a-z0-9][a-z0-9-]*$/',
  ),
  one(
    'one name twice',
    'x: rank, y: asr }\n    - { name: b, x: rank, y: asr }\n  tables:\n    - { name: b, rows: rank, metrics: asr',
    'b',
    'duplicate-value',
    'two entries of "report" are called "b"',
    'their files would have one name: give one of them another',
  ),
  one(
    'a misspelt axis',
    'x: rnk, y: asr',
    'rnk',
    'unknown-key',
    'there is no axis and no metric "rnk"',
    'did you mean "rank"?',
  ),
  one(
    'a colour that is a metric',
    'x: rank, y: asr, color: evaluate.asr',
    'evaluate.asr',
    'unknown-key',
    'there is no axis "evaluate.asr"',
    'an axis is named in full, such as "poisoning.rate", or by an ending that only one has',
  ),
  one(
    'a misspelt metric',
    'x: rank, y: acuracy',
    'acuracy',
    'unknown-key',
    'there is no axis and no metric "acuracy"',
    'did you mean "accuracy"?',
  ),
  one(
    'a metric of a stage that does not run',
    'x: rank, y: fisher.trace',
    'fisher.trace',
    'unknown-value',
    '"fisher.trace" is not measured: "fisher" is not under "stages"',
    'write stages: [train, evaluate, report, fisher]',
  ),
  one(
    'a mark that there is not',
    'x: rank, y: asr, mark: lines',
    'lines',
    'unknown-value',
    '"report.figures.mark" must be "line", "point", "bar" or "heatmap", not "lines"',
    'did you mean "line"?',
  ),
  one(
    'a scale that there is not',
    'x: { field: rank, scale: lin }, y: asr',
    'lin',
    'unknown-value',
    '"report.figures.x.scale" must be "linear", "log", "log2", "symlog" or "category", not "lin"',
    'did you mean "linear"?',
  ),
  one(
    'a domain that falls',
    'x: { field: rank, domain: [8, 4] }, y: asr',
    '[8, 4]',
    'out-of-range',
    'a domain goes from the least to the greatest, not from 8 to 4',
  ),
  one(
    'a logarithmic domain from 0',
    'x: { field: rank, scale: log, domain: [0, 4] }, y: asr',
    '[0, 4]',
    'out-of-range',
    'a logarithmic scale has no place for 0',
    'begin above 0, or write `scale: symlog`',
  ),
  one(
    'an interval of a median',
    'x: rank, y: asr, statistic: median, spread: interval',
    'interval',
    'conflicting-keys',
    'the interval is of the mean, not of the median',
    'write `spread: range` or `spread: none`',
  ),
  one(
    'a heat map without a metric',
    'x: rank, y: attack',
    'attack',
    'conflicting-keys',
    'a heat map has one metric as its colour',
    'such as { color: asr }',
  ),
  one(
    'a heat map whose metric is on y',
    'x: rank, y: asr, mark: heatmap',
    'asr',
    'conflicting-keys',
    'a heat map has one axis on y, and its metric as its colour',
    'such as { x: defence, y: attack, color: asr }',
  ),
  one(
    'an axis on y of a line',
    'x: rank, y: attack, color: asr, mark: line',
    'line',
    'conflicting-keys',
    'only a heat map has an axis on y, not a line',
    'give y a metric, or leave out "mark"',
  ),
  one(
    'a cell pattern with an unknown field',
    'x: rank, y: asr, cells: { atack: badnets }',
    'atack',
    'unknown-key',
    'there is no field "atack" to match',
    'did you mean "poisoning.attack"?',
  ),
  one(
    'an axis of a table that is a metric',
    'x: rank, y: asr }\n  tables:\n    - { name: t, rows: accuracy, metrics: asr',
    'accuracy',
    'unknown-key',
    'there is no axis "accuracy"',
    'an axis is named in full, such as "poisoning.rate", or by an ending that only one has',
  ),
  one(
    'a metric of a table that is an axis',
    'x: rank, y: asr }\n  tables:\n    - { name: t, rows: adapter, metrics: rank',
    'rank',
    'unknown-key',
    'there is no metric "rank"',
    'a metric is named in full, STAGE.METRIC, such as "evaluate.asr"',
  ),
  overlay(
    'a column that the published numbers lack',
    ['where: { series: lora }', 'x: n', 'y: men'],
    'men',
    'unknown-column',
    'p.csv has no column "men"',
    'did you mean "mean"?',
  ),
  overlay(
    'a condition on a column that they lack',
    ['x: n', 'y: mean', 'where: { series: lora, model: lora }'],
    'model',
    'unknown-column',
    'p.csv has no column "model"',
    'its columns are task, series, n and mean',
  ),
  overlay(
    'no row that is chosen',
    ['x: n', 'y: mean', 'where: { series: vera }'],
    'vera',
    'matches-nothing',
    'no row of p.csv has this in "series"',
    'it is "lora" or "full"',
  ),
  overlay(
    'a place on x that is no number',
    ['y: mean', 'x: n'],
    'n',
    'wrong-type',
    '"n" is "x" in line 3 of p.csv',
    'a number belongs there: choose rows with `where`, or mend the file',
  ),
  overlay(
    'a line that they do not have',
    [...ROW, 'color: series', 'names: { lra: LoRA }'],
    'lra',
    'unknown-value',
    'no row that is drawn has "lra" in "series"',
    'did you mean "lora"?',
  ),
  overlay(
    'names without a column of lines',
    [...ROW, 'names: { lora: LoRA }'],
    '{ lora: LoRA }',
    'missing-key',
    '"names" are of the lines that a column tells apart, and there is none',
    'name the column with `color`',
  ),
  overlay(
    'panels that the figure does not have',
    [...ROW, 'facet: { row: task }'],
    'task',
    'conflicting-keys',
    'the figure has no panels by row',
    'give it facet: { row: AXIS }, or leave this out',
  ),
  overlay(
    'published numbers of a metric that the figure does not draw',
    [...ROW, 'metric: accuracy'],
    'accuracy',
    'unknown-value',
    'the figure does not draw "evaluate.accuracy"',
    'it draws evaluate.asr',
  ),
  envelope(
    'an envelope without test rows',
    'over: rank, highest: asr',
    '{ over: rank, highest: asr }',
    'conflicting-keys',
    'the rows that choose would be the rows that are shown: there is no "data.test"',
    'name test rows; only evaluations run anew, no training',
  ),
  ...(
    [
      [
        'an envelope that chooses nothing',
        'over: rank',
        '{ over: rank }',
        'conflicting-keys',
        'an envelope has either the "highest" or the "lowest" of a metric',
        'such as { over: poisoning.rate, highest: asr }',
      ],
      [
        'an envelope over an axis on x',
        'over: [rank, rate], highest: asr',
        '[rank, rate]',
        'conflicting-keys',
        '"poisoning.rate" has a place of its own here, so nothing is chosen over it',
        'leave it out of "over", or out of the places',
      ],
      [
        'an envelope over all of an axis on x',
        'over: attack, highest: asr',
        'attack',
        'conflicting-keys',
        '"poisoning.rate" has a place of its own here, so nothing is chosen over it',
        'leave it out of "over", or out of the places',
      ],
      [
        'an envelope that chooses by test rows',
        'over: rank, highest: evaluate.test_asr',
        'evaluate.test_asr',
        'conflicting-keys',
        'test rows choose nothing',
        'name the metric of the validation rows',
      ],
      [
        'a bound of no metric',
        'over: rank, highest: asr, where: { acuracy: { min: 0.9 } }',
        'acuracy',
        'unknown-key',
        'there is no metric "acuracy"',
        'did you mean "accuracy"?',
      ],
      [
        'a bound that nothing satisfies',
        'over: rank, highest: asr, where: { accuracy: { min: 0.9, max: 0.8 } }',
        '{ min: 0.9, max: 0.8 }',
        'out-of-range',
        'nothing is at least 0.9 and at most 0.8',
      ],
      [
        'an envelope by a seed of no cell',
        'over: rank, highest: asr, selection_seeds: [3]',
        '[3]',
        'unknown-value',
        'the grid has no seed 3',
        'the seeds are 1, 2',
      ],
      [
        'an envelope that leaves no seed',
        'over: rank, highest: asr, selection_seeds: [1, 2]',
        '[1, 2]',
        'unknown-value',
        'no seed is left to show',
        'the seeds are 1, 2',
      ],
    ] as const
  ).map(([fault, fields, mark, code, message, hint]) =>
    envelope(fault, fields, mark, code, message, hint),
  ),
  {
    fault: 'an envelope over the attack on a base, whose dose is on x',
    spec: ofBase,
    shows: at(
      ofBase,
      'attack',
      'conflicting-keys',
      '"base.poisoning.rate" has a place of its own here, so nothing is chosen over it',
      'leave it out of "over", or out of the places',
    ),
  },
  envelope(
    'an envelope along the steps',
    'over: rank, highest: asr',
    '{ over: rank, highest: asr }',
    'conflicting-keys',
    'test rows have no numbers along the steps',
    'put an axis on x',
  ),
  {
    fault: 'published numbers that are missing',
    spec: beside('q.csv', 'x: n', 'y: mean'),
    files: { 'p.csv': CSV },
    shows: at(
      beside('q.csv', 'x: n', 'y: mean'),
      'q.csv',
      'missing-file',
      'there is no file DIR/q.csv',
      'did you mean "p.csv"?',
    ),
  },
  ...(
    [
      ['a,b\n1,2\n3\n', 'is no CSV: Invalid Record Length: expect 2, got 1 on line 3'],
      ['a,a\n1,2\n', 'has two columns "a"'],
      ['a,b\n', 'has no rows'],
    ] as const
  ).map(([text, what]): Fault => {
    const spec = beside('p.csv', 'x: a', 'y: b');
    const hint = 'write a line of column names, then the rows';
    return {
      fault: `a file that ${what}`,
      spec,
      files: { 'p.csv': text },
      shows: at(spec, 'p.csv', 'bad-csv', `p.csv ${what}`, hint),
    };
  }),
]).run();
