/** What was asked: the grid, the attacks, how each adapter was trained, and the spec itself. */
import type { JSX } from 'preact';
import type { Json } from '../../api.ts';
import { type Condition, contentKey, distinct, isFull, varyingPaths } from '../conditions.ts';
import { formatValue, plural } from '../format.ts';
import type { ReportCell, ReportInput } from '../types.ts';
import { Section, Table } from './parts.tsx';

const MOST_VALUES = 16;

interface Axis {
  readonly path: string;
  readonly values: readonly Json[];
  readonly cells: number;
}

function axesOf(cells: readonly ReportCell[]): Axis[] {
  return [...varyingPaths(cells)].map((path) => {
    const having = cells.filter(({ axes }) => axes[path] !== undefined);
    const values = new Map(having.map(({ axes }) => [contentKey(axes[path]), axes[path]!]));
    return { path, values: [...values.values()], cells: having.length };
  });
}

/** Fields of `train` that differ between adapters make a comparison of adapters one of training too. */
export function confounded(conditions: readonly Condition[]): readonly string[] {
  const full = conditions.filter(isFull),
    others = conditions.filter((condition) => !isFull(condition));
  if (full.length === 0 || others.length === 0) return [];
  const values = (of: readonly Condition[], field: string): string =>
    distinct(of.map(({ cells }) => contentKey(cells[0]?.train[field] ?? null)))
      .sort()
      .join(' ');
  const fields = distinct(conditions.flatMap(({ cells }) => Object.keys(cells[0]?.train ?? {})));
  return fields.filter((field) => values(full, field) !== values(others, field));
}

export function Asked({
  input,
  conditions,
}: {
  readonly input: ReportInput;
  readonly conditions: readonly Condition[];
}): JSX.Element {
  const axes = axesOf(input.cells);
  const confounds = confounded(conditions);
  const byAdapter = new Map(
    conditions.map((condition) => [
      contentKey([condition.adapterLabel, condition.cells[0]?.train]),
      condition,
    ]),
  );
  const fields = distinct(
    [...byAdapter.values()].flatMap(({ cells }) => Object.keys(cells[0]?.train ?? {})),
  );
  const main = [
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
  ].filter((field) => fields.includes(field));
  return (
    <Section id="asked" title="What was asked">
      <p>
        {plural(conditions.length, 'condition')} at{' '}
        {plural(distinct(input.cells.map(({ seed }) => seed)).length, 'seed')}, from the stages{' '}
        {input.goals.join(', ')}. Seeds are replicates: every random stream depends on the seed, a
        purpose and a name alone, so that runs which differ in one axis differ in nothing else and
        are compared in pairs.
      </p>
      {axes.length === 0 ? (
        <p>One condition only: no axis varies.</p>
      ) : (
        <Table
          label="Axes of the grid"
          rows={axes}
          columns={[
            { title: 'Axis', kind: 'nowrap', value: ({ path }) => <code>{path}</code> },
            {
              title: 'Values',
              value: ({ values }) =>
                `${values.slice(0, MOST_VALUES).map(formatValue).join(', ')}${values.length > MOST_VALUES ? `, … (${values.length} in all)` : ''}`,
            },
            { title: 'Cells that have it', kind: 'number', value: ({ cells }) => cells },
          ]}
        />
      )}
      {input.attacks.length === 0 ? null : (
        <Table
          label="Attacks"
          rows={input.attacks}
          columns={[
            { title: 'Attack', kind: 'nowrap', value: ({ name }) => <code>{name}</code> },
            { title: 'What it does', value: ({ summary }) => summary },
            { title: 'Source', value: ({ citation }) => citation || '–' },
          ]}
        />
      )}
      <h3>How each adapter was trained</h3>
      <Table
        label="Training by adapter"
        most={60}
        rows={[...byAdapter.values()]}
        columns={[
          { title: 'Adapter', kind: 'nowrap', value: ({ adapterLabel }) => adapterLabel },
          ...main.map((field) => ({
            title: field.replaceAll('_', ' '),
            kind: 'number' as const,
            value: ({ cells }: Condition) => formatValue(cells[0]?.train[field]),
          })),
        ]}
      />
      {confounds.length === 0 ? null : (
        <p>
          <strong>Confounded:</strong> full fine-tuning and the other adapters were trained with
          different values of {confounds.map((field) => field.replaceAll('_', ' ')).join(', ')}. A
          difference between them below is one of adapter <em>and</em> training; “LoRA is robust”
          could still mean “LoRA was trained less”. Compare the loss curves.
        </p>
      )}
      <details>
        <summary>The spec, {input.specFile.split(/[\\/]/).pop()}</summary>
        <pre tabIndex={0}>{input.specText}</pre>
      </details>
    </Section>
  );
}
