/** What was asked: the grid, the attacks, how each adapter was trained, and the spec itself. */
import type { JSX } from 'preact';
import type { JsonObject } from '../../api.ts';
import { type Condition, isFull } from '../conditions.ts';
import { isDefended } from '../defences.ts';
import { formatValue, plural } from '../format.ts';
import { contentKey, distinct, groupBy } from '../groups.ts';
import { adapterTitle, DEFENCE, sectionTitle, varyingPaths } from '../labels.ts';
import type { AttackNote, EarlierTraining, ReportCell } from '../types.ts';
import {
  type Chapter,
  names,
  numbers,
  type OfConditions,
  type PageProps,
  paramsText,
  Table,
  texts,
} from './parts.tsx';

const MOST_VALUES = 16;

type Axis = ReturnType<typeof varyingAxes>[number];

function varyingAxes(cells: readonly ReportCell[]) {
  // Undefended cells lack this axis, so it may tell cells apart even if it has only one value.
  const defence = cells.some(isDefended) ? [DEFENCE] : [];
  return distinct([...varyingPaths(cells), ...defence]).map((path) => {
    const having = cells.map(({ axes }) => axes[path]).filter((value) => value !== undefined);
    const values = new Map(having.map((value) => [contentKey(value), value]));
    return { path, values: [...values.values()], cells: having.length };
  });
}

function valuesText({ values }: Axis): string {
  const shown = values.slice(0, MOST_VALUES).map((value) => formatValue(value));
  const more = values.length > MOST_VALUES ? `, … (${values.length} in all)` : '';
  return `${shown.join(', ')}${more}`;
}

/**
 * Returns the fields of `train` whose values differ between full fine-tuning and the other
 * adapters, so that a comparison of adapters is also one of training settings. [] if the grid lacks
 * either.
 */
function confoundedFields(conditions: readonly Condition[]): readonly string[] {
  const full = conditions.filter(isFull),
    others = conditions.filter((condition) => !isFull(condition));
  if (full.length === 0 || others.length === 0) return [];
  const values = (of: readonly Condition[], field: string): string =>
    distinct(of.map(({ cells }) => contentKey(cells[0].train[field] ?? null)))
      .sort()
      .join(' ');
  return trainFields(conditions).filter((field) => values(full, field) !== values(others, field));
}

const trainFields = (conditions: readonly Condition[]): readonly string[] =>
  distinct(conditions.flatMap(({ cells }) => Object.keys(cells[0].train)));
const fieldTitle = (field: string): string => field.replaceAll('_', ' ');

function Axes({ input }: PageProps): JSX.Element {
  const axes = varyingAxes(input.cells);
  return axes.length === 0 ? (
    <p>One condition only: no axis varies.</p>
  ) : (
    <Table<Axis>
      label="Axes of the grid"
      rows={axes}
      columns={[
        names('Axis', ({ path }) => <code>{path}</code>),
        texts('Values', valuesText),
        numbers('Cells that have it', ({ cells }) => cells),
      ]}
    />
  );
}

const Attacks = ({ input: { attacks } }: PageProps): JSX.Element | null =>
  attacks.length === 0 ? null : (
    <Table<AttackNote>
      label="Attacks"
      rows={attacks}
      caption="Of each parameter all values in the grid and its bases, not their combinations."
      columns={[
        names('Attack', ({ name }) => <code>{name}</code>),
        texts('What it does', ({ summary }) => summary),
        texts('Its parameters', ({ params }) => paramsText(params)),
        texts('Source', ({ citation }) => citation || '–'),
      ]}
    />
  );

/** The fields of `train` that are shown if any training has them, in this order. */
const SHOWN_FIELDS = [
  'learning_rate',
  'optimizer',
  'epochs',
  'steps',
  'batch_size',
  'max_length',
  'weight_decay',
  'schedule',
  'warmup',
  'dropout',
];

/** The value of a field where `train` leaves the field out. */
const UNSAID: JsonObject = { loss: 'supervised' };

interface Trained {
  /** For a training before the cells' own: which one, and its attack. Empty for the cells' own. */
  readonly place: string;
  readonly adapter: string;
  readonly train: JsonObject;
}

/** Names a training before the cells' own: `the base: badnets, rate 0.1`. */
export function trainingPlace({ section, poisoning }: EarlierTraining): string {
  const doses = ['rate', 'count'].flatMap((dose) =>
    poisoning[dose] === undefined ? [] : `, ${dose} ${formatValue(poisoning[dose])}`,
  );
  const attack = poisoning.attack === 'none' ? 'no attack' : poisoning.attack;
  return `${sectionTitle(section)}: ${attack}${doses.join('')}`;
}

const Training = ({ conditions }: OfConditions): JSX.Element => {
  const trained = conditions.flatMap(({ adapterLabel, cells: [{ train, bases = [] }] }) => [
    ...bases.map((base): Trained => {
      const { rank } = base.adapter;
      const adapter = adapterTitle(base.adapter.type);
      return {
        place: trainingPlace(base),
        adapter: rank === undefined ? adapter : `${adapter} r = ${formatValue(rank)}`,
        train: base.train,
      };
    }),
    { place: '', adapter: adapterLabel, train },
  ]);
  const rows = [...groupBy(trained, contentKey).values()]
    .map(([first]) => first)
    .sort((a, b) => Number(a.place === '') - Number(b.place === ''));
  // Other fields are shown too if they vary, lest rows that differ only in these look alike.
  const varying = distinct(rows.flatMap(({ train }) => Object.keys(train))).filter(
    (field) => distinct(rows.map(({ train }) => contentKey(train[field] ?? null))).length > 1,
  );
  const shown = SHOWN_FIELDS.filter((field) => rows.some(({ train }) => field in train));
  const isChain = rows.some(({ place }) => place !== '');
  return (
    <>
      <h3>How each adapter was trained</h3>
      {rows.some(({ train }) => train['early_stopping'] !== undefined) && (
        <p>
          <strong>Early stopping</strong> judged trainings by the validation rows, so that what is
          measured on these rows may be too good; test rows (<code>data.test</code>) have no part in
          it. Steps and epochs are the most that a training takes, and the metric{' '}
          <code>kept_step</code> of <code>train</code> is the step whose weights were kept.
        </p>
      )}
      <Table<Trained>
        label="Training by adapter"
        most={60}
        rows={rows}
        columns={[
          ...(isChain
            ? [texts('Training', ({ place }: Trained) => place || 'the cell’s own')]
            : []),
          names('Adapter', ({ adapter }) => adapter),
          ...distinct([...shown, ...varying]).map((field) =>
            numbers(fieldTitle(field), ({ train }: Trained) =>
              formatValue(train[field] ?? UNSAID[field]),
            ),
          ),
        ]}
      />
    </>
  );
};

/** Warns of `confoundedFields`; null if there are none. */
function Confounded({ conditions }: OfConditions): JSX.Element | null {
  const fields = confoundedFields(conditions);
  return fields.length === 0 ? null : (
    <p>
      <strong>Confounded:</strong> full fine-tuning and the other adapters were trained with
      different values of {fields.map(fieldTitle).join(', ')}. A difference between them below is
      one of adapter <em>and</em> training; “LoRA is robust” could still mean “LoRA was trained
      less”. Compare the loss curves.
    </p>
  );
}

const Asked = ({ input, conditions }: PageProps): JSX.Element => (
  <p>
    {plural(conditions.length, 'condition')} at{' '}
    {plural(distinct(input.cells.map(({ seed }) => seed)).length, 'seed')}, from the stages{' '}
    {input.goals.join(', ')}. Seeds are replicates: every random stream depends on the seed, a
    purpose and a name alone, so that runs which differ in one axis differ in nothing else and are
    compared in pairs.
  </p>
);

const Spec = ({ input }: PageProps): JSX.Element => (
  <details>
    <summary>The spec, {input.specFile.split(/[\\/]/).pop()}</summary>
    <pre tabIndex={0}>{input.specText}</pre>
  </details>
);

export const asked: Chapter = {
  id: 'asked',
  nav: 'Asked',
  title: 'What was asked',
  parts: [Asked, Axes, Attacks, Training, Confounded, Spec],
};
