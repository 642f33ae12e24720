/** How it ran and on what: the DAG with timings, the slowest stages, versions, data, store keys. */
import type { JSX } from 'preact';
import type { Json, JsonObject, StageFacts } from '../../api.ts';
import { cut, formatSeconds, formatValue, plural } from '../format.ts';
import type { Figure, ReportInput } from '../types.ts';
import { axesText, Figures, Section, Table } from './parts.tsx';

const SLOWEST = 10;
const MOST_KEYS = 300;

const state = ({ state: of, error }: StageFacts): JSX.Element =>
  of === 'failed' || of === 'blocked' ? (
    <span class="bad" title={error}>
      {of}
    </span>
  ) : (
    <>{of}</>
  );

export function Stages({
  input,
  figure,
}: {
  readonly input: ReportInput;
  readonly figure: Figure | null;
}): JSX.Element {
  const slowest = [...input.stages]
    .filter(({ seconds }) => seconds > 0)
    .sort((a, b) => b.seconds - a.seconds)
    .slice(0, SLOWEST);
  const troubled = input.stages.filter(({ state: of }) => of === 'failed' || of === 'blocked');
  return (
    <Section id="stages-run" title="How it ran">
      <Figures figures={figure ? [figure] : []} layout="wide" />
      {troubled.length === 0 ? null : (
        <>
          <h3>Failed and blocked stages</h3>
          <Table
            label="Failed and blocked stages"
            most={60}
            rows={troubled}
            columns={[
              { title: 'Stage', kind: 'nowrap', value: ({ id }) => <code>{id}</code> },
              { title: 'Of', value: axesText },
              { title: 'Seed', kind: 'number', value: ({ seed }) => seed ?? 'all' },
              { title: 'State', value: state },
              { title: 'Why', kind: 'cut', value: ({ error }) => cut(error ?? '', 600) },
            ]}
          />
        </>
      )}
      <h3>Slowest stages</h3>
      <Table
        label="Slowest stages"
        rows={slowest}
        columns={[
          { title: 'Stage', kind: 'nowrap', value: ({ id }) => <code>{id}</code> },
          { title: 'Of', value: axesText },
          { title: 'Seed', kind: 'number', value: ({ seed }) => seed ?? 'all' },
          { title: 'State', value: state },
          { title: 'Time', kind: 'number', value: ({ seconds }) => formatSeconds(seconds) },
        ]}
      />
    </Section>
  );
}

/** Nested facts as `a.b` → text. */
export function flatten(value: JsonObject, prefix = ''): [string, string][] {
  return Object.entries(value).flatMap(([name, inner]): [string, string][] => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    if (isObject(inner)) return flatten(inner, path);
    return [
      [
        path,
        Array.isArray(inner)
          ? inner.map((item: Json) => formatValue(item)).join(', ')
          : formatValue(inner),
      ],
    ];
  });
}
const isObject = (value: Json): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const Pairs = ({
  label,
  pairs,
}: {
  readonly label: string;
  readonly pairs: readonly (readonly [string, string])[];
}): JSX.Element => (
  <Table
    label={label}
    rows={pairs}
    columns={[
      { title: 'What', kind: 'nowrap', value: ([name]) => name },
      { title: 'Value', kind: 'cut', value: ([, value]) => cut(value, 500) },
    ]}
  />
);

export function Provenance({ input }: { readonly input: ReportInput }): JSX.Element {
  const { packages, ...rest } = input.environment;
  const kept = input.stages.filter(({ key }) => key !== '');
  return (
    <Section id="provenance" title="Provenance">
      <p>
        Enough to repeat the run elsewhere. Threads, processor and backend may change the last bits
        within the project’s tolerance table.
      </p>
      <h3>Environment</h3>
      <Pairs label="Environment" pairs={flatten(rest)} />
      {packages === undefined || !isObject(packages) ? null : (
        <details>
          <summary>Package versions</summary>
          <Pairs label="Package versions" pairs={flatten(packages)} />
        </details>
      )}
      {Object.entries(input.sources).map(([role, source]) => (
        <>
          <h3>{role.charAt(0).toUpperCase() + role.slice(1)}</h3>
          <Pairs label={role} pairs={flatten(source)} />
        </>
      ))}
      <details>
        <summary>Store keys ({plural(kept.length, 'stage')})</summary>
        <Table
          label="Store keys"
          most={MOST_KEYS}
          rows={kept}
          caption="An entry lies in the store under the first two digits of its key, then the key."
          columns={[
            { title: 'Stage', kind: 'nowrap', value: ({ id }) => <code>{id}</code> },
            { title: 'Key', value: ({ key }) => <code>{key}</code> },
            { title: 'State', value: state },
            { title: 'Backend', value: ({ backend }) => backend ?? '–' },
          ]}
        />
      </details>
    </Section>
  );
}
